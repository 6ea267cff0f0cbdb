"""Nothing of a fold's validation cases reaches a weight or a pseudo-label, in any phase.

Whole trainings are compared bit by bit (CPU, nnUNet_n_proc_DA=0). Plans and split stay as they are, and nnU-Net's
checkpoint_best is excepted, which it chooses on the validation cases.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import blosc2
import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.cases.modality_dataset import sample_class_locations
from nnunet_mgcl.engine.curves import Curves
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

BLOCK = {
    "seed": {"epochs": 2, "batch_size": 3, "lr": 0.01},
    "self_train": {"epochs": 1, "batch_size": 3, "lr": 0.01},
    "pseudo_label": {"confidence": 0.0, "mirroring": False},
    "coarse": {"epochs": 1, "batch_size": 6, "embedding_dim": 8},
    "fine": {"epochs": 1, "batch_size": 6, "embedding_dim": 8, "patch_size": 8},
    "segment": {"epochs": 2, "iterations": 2, "val_iterations": 2},
    "tss": {"epochs": 1, "batch_size": 2, "grid": 2, "heads": 2},
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
def rewrite(tiny_dataset, plans, masks_json):
    """`rewrite(case, image=function, mask=function)` changes the preprocessed case that training reads."""
    folder = tiny_dataset.preprocessed / "nnUNetPlans_2d"

    def rewrite(case, image=np.asarray, mask=np.asarray):
        data, seg, _, properties = nnUNetDatasetBlosc2(str(folder)).load_case(case)
        data, seg = image(data[:]), mask(seg[:])
        properties["class_locations"] = sample_class_locations(seg, PlansManager(plans).get_label_manager(masks_json))
        for path in folder.glob(f"{case}*"):
            path.unlink()
        parts = {"chunks": (1, *data.shape[1:]), "blocks": (1, 1, *data.shape[2:])}
        nnUNetDatasetBlosc2.save_case(data, seg, properties, str(folder / case), **parts)

    return rewrite


@pytest.fixture(params=["masks", "shared"])
def train(request, tiny_dataset, plans, masks_json, rewrite, monkeypatch, tmp_path):
    """Runs a whole training, with a mask for each modality or one for all; returns what it left, by name."""
    if request.param == "shared":
        del masks_json["mgcl"]["lesion_labels"]
        masks_json["labels"] = {"background": 0, "lesion": 1}
        for case in SPLIT["train"] + SPLIT["val"]:
            rewrite(case, mask=lambda mask: np.minimum(mask, 1))
    monkeypatch.setenv("nnUNet_raw", str(tiny_dataset.raw.parent))
    monkeypatch.setenv("nnUNet_preprocessed", str(tiny_dataset.preprocessed.parent))
    monkeypatch.setattr(Curves, "_draw", lambda _: None)  # pictures would take longer than the training
    for path in (tiny_dataset.raw_dataset_json, tiny_dataset.dataset_json):
        path.write_text(json.dumps(masks_json))
    tiny_dataset.splits.write_text(json.dumps([SPLIT]))
    (tiny_dataset.preprocessed / "dataset_fingerprint.json").write_text("{}")

    def train(results):
        monkeypatch.setenv("nnUNet_results", str(tmp_path / results))
        content = deepcopy(plans) | {"continue_training": False}
        content["configurations"]["2d"]["mgcl"] = BLOCK
        trainer = MGCLTrainer(content, "2d", 0, deepcopy(masks_json), torch.device("cpu"))
        trainer.logger.plot_progress_png = lambda _: None
        trainer.run_training()
        return outcome(Path(trainer.output_folder))

    return train


@pytest.fixture
def spoil_tss(tiny_dataset):
    """`spoil_tss(case=hours, ...)` replaces or adds rows of the table that training reads."""

    def spoil_tss(**rows):
        lines = dict(line.split(",") for line in tiny_dataset.tss.read_text().split()) | rows
        tiny_dataset.tss.write_text("".join(f"{case},{hours}\n" for case, hours in lines.items()))

    return spoil_tss


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
        elif path.is_file():
            found[name] = path.read_text()
    final = torch.load(folder / "checkpoint_final.pth", weights_only=False)
    return found | {part: final[part] for part in ("network_weights", "optimizer_state")}


def bits(value):
    """A nested value with its arrays as bytes."""
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [bits(item) for item in value]
    if isinstance(value, np.ndarray | torch.Tensor):
        array = np.asarray(value)
        return array.dtype.str, array.shape, array.tobytes()
    return value


def differing(one, other):
    assert one.keys() == other.keys()
    return {name for name in one if bits(one[name]) != bits(other[name])}


def noisy(array):
    """Noise in the place of an image, or of a mask with its labels."""
    random = np.random.default_rng(0)
    if np.issubdtype(array.dtype, np.floating):
        return random.normal(size=array.shape).astype(array.dtype)
    return random.integers(0, array.max() + 1, size=array.shape).astype(array.dtype)


def test_validation_cases_change_no_bit_and_a_training_case_changes_every_phase(train, rewrite, spoil_tss):
    expected = train("expected")
    pseudo_labels = {name for name in expected if name.startswith("pseudo_label_") and name.endswith(".b2nd")}
    assert expected.keys() >= NETWORKS and len(pseudo_labels) == 2 * 8
    assert not json.loads(expected["state.json"]).get("skipped")

    rewrite("case_0", mask=noisy)
    rewrite("case_5", mask=np.zeros_like)  # no voxel to oversample: other random draws
    spoil_tss(case_0=100, case_5=1)
    changed = differing(train("other labels and TSS"), expected)
    assert not changed

    for case in SPLIT["val"]:
        rewrite(case, image=noisy)
    changed = differing(train("other images"), expected)
    assert not changed

    rewrite("case_1", mask=noisy)
    changed = differing(train("another training case"), expected)
    assert changed >= NETWORKS | pseudo_labels | {"optimizer_state"}
