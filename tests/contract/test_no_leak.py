"""Nothing of a fold's validation cases reaches a weight or a pseudo-label, in any phase.

Whole trainings are compared bit by bit (CPU, nnUNet_n_proc_DA=0). Plans and split stay as they are, and nnU-Net's
checkpoint_best is excepted, which it chooses on the validation cases.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import blosc2
import numpy as np
import pytest
import torch

from tests.conftest import rewrite_case
from tests.contract.models import tiny_trainer

BLOCK = {
    "seed": {"epochs": 2, "batch_size": 3, "lr": 0.01},
    "self_train": {"batch_size": 3, "lr": 0.01},
    "fine": {"patch_size": 8},
    "segment": {"epochs": 2, "val_iterations": 2},
}
SPLIT = {"train": ["case_1", "case_2", "case_3", "case_4"], "val": ["case_0", "case_5"]}
"""The pool has a case_0 too. case_5 has no TSS."""
BRANCHES = ["DWI", "FLAIR", "PWI"]
NETWORKS = {
    f"{phase}/{branch}/network.pth" for phase in ("seed", "self_train", "coarse", "fine") for branch in BRANCHES
}
NETWORKS |= {"tss/mrff/network.pth", "network_weights"}


@pytest.fixture
def plans(plans):
    """With them two short epochs learn where the lesions are, so that slices with and without one can be contrasted."""
    plans["configurations"]["2d"] |= {
        "normalization_schemes": ["ZScoreNormalization"] * 3,
        "use_mask_for_norm": [False] * 3,
        "batch_size": 3,
    }
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"] |= {"norm_op": None, "norm_op_kwargs": None}
    return plans


@pytest.fixture
def rewrite(real_dataset):
    """`rewrite(case, image=function, mask=function)` changes the preprocessed case that training reads."""
    return partial(rewrite_case, real_dataset.preprocessed / "nnUNetPlans_2d")


@pytest.fixture(params=["masks", "shared"])
def train(request, real_dataset, no_pictures, plans, masks_json, rewrite, monkeypatch, tmp_path):
    """Runs a whole training, with a mask for each modality or one for all; returns what it left, by name."""
    if request.param == "shared":
        del masks_json["mgcl"]["lesion_labels"]
        masks_json["labels"] = {"background": 0, "lesion": 1}
        for case in SPLIT["train"] + SPLIT["val"]:
            rewrite(case, mask=lambda mask: np.minimum(mask, 1), labels=[1])
    for path in (real_dataset.raw_dataset_json, real_dataset.dataset_json):
        path.write_text(json.dumps(masks_json))
    real_dataset.splits.write_text(json.dumps([SPLIT]))

    def train(results):
        monkeypatch.setenv("nnUNet_results", str(tmp_path / results))
        trainer = tiny_trainer(plans, masks_json, BLOCK)
        trainer.run_training()
        return outcome(Path(trainer.output_folder))

    return train


def outcome(folder):
    """Every weight, pseudo-label, curve and state of a fold, ready to be compared."""
    found = {}
    for path in sorted((folder / "phases").rglob("*")):
        name = str(path.relative_to(folder / "phases"))
        if path.suffix == ".pth":
            found[name] = torch.load(path, weights_only=True)
        elif path.suffix == ".b2nd":
            found[name] = blosc2.open(str(path), mode="r")[:]
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                found[name] = dict(arrays)
        elif path.is_file() and path.name != "costs.json":  # it holds seconds
            found[name] = path.read_text()
    final = torch.load(folder / "checkpoint_final.pth", weights_only=False)
    return found | {part: final[part] for part in ("network_weights", "optimizer_state")}


def differing(one, other):
    """The names of what is not the same bit by bit."""

    def same(a, b):
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        if isinstance(a, list | tuple):
            return len(a) == len(b) and all(map(same, a, b))
        if isinstance(a, np.ndarray | torch.Tensor):
            a, b = np.asarray(a), np.asarray(b)
            return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        return a == b

    assert one.keys() == other.keys()
    return {name for name in one if not same(one[name], other[name])}


def noisy(array):
    """Noise in the place of an image, or of a mask with its labels."""
    random = np.random.default_rng(0)
    if np.issubdtype(array.dtype, np.floating):
        return random.normal(size=array.shape).astype(array.dtype)
    return random.integers(0, array.max() + 1, size=array.shape).astype(array.dtype)


def test_validation_cases_change_no_bit_and_a_training_case_changes_every_phase(train, rewrite, real_dataset):
    expected = train("expected")
    pseudo_labels = {name for name in expected if name.startswith("pseudo_label_") and name.endswith(".b2nd")}
    assert expected.keys() >= NETWORKS and len(pseudo_labels) == 2 * 8
    assert not json.loads(expected["state.json"]).get("skipped")

    rewrite("case_0", image=noisy, mask=noisy)
    rewrite("case_5", image=noisy, mask=np.zeros_like)  # no voxel to oversample: other random draws
    hours = real_dataset.tss.read_text()
    assert "\ncase_0,1\n" in hours
    real_dataset.tss.write_text(hours.replace("\ncase_0,1\n", "\ncase_0,100\n") + "case_5,1\n")
    assert not differing(train("other validation cases"), expected)

    rewrite("case_1", mask=noisy)
    changed = differing(train("another training case"), expected)
    assert changed >= NETWORKS | pseudo_labels | {"optimizer_state"}
