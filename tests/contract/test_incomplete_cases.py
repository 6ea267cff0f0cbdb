"""Labelled cases that lack a modality: what stands in for its images reaches no weight and no result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nnunet_mgcl.data.prepare import prepare_dataset
from nnunet_mgcl.system.errors import UserError
from tests.contract.models import rows, tiny_trainer, voxels
from tests.contract.test_no_leak import BLOCK, SPLIT, differing, noisy, outcome, plans, rewrite  # noqa: F401

CHANNEL = {"DWI": 0, "FLAIR": 1, "PWI": 2}
MISSING = {"case_1": ["PWI"], "case_0": ["DWI"]}
"""A training and a validation case."""
BLOCK_OF = {
    "masks": BLOCK | {"tss": {"head": "mrff", "compared": ["lesion", "mrff_lesion"]}},
    "shared": BLOCK | {"tss": {"head": "lesion", "compared": ["mrff_lesion"], "modality_dropout": 0.3}},
}


def without(bits):
    """Clears lesions of some modalities in a bit mask."""
    return lambda mask: np.where(mask > 0, mask & ~bits, mask)


def stand_in(modality, fill):
    def change(image):
        image[CHANNEL[modality]] = fill(image[CHANNEL[modality]])
        return image

    return change


@pytest.fixture(params=["masks", "shared"])
def kind(request, real_dataset, masks_json, rewrite):  # noqa: F811
    """The dataset with empty images in the place of what is missing."""
    real_dataset.splits.write_text(json.dumps([SPLIT]))
    if request.param == "shared":
        del masks_json["mgcl"]["lesion_labels"]
        masks_json["labels"] = {"background": 0, "lesion": 1}
    for case in SPLIT["train"] + SPLIT["val"]:
        bits = sum(1 << CHANNEL[name] for name in MISSING.get(case, ()))
        clear, shared = without(bits), request.param == "shared"
        mask = (lambda mask, c=clear: np.minimum(c(mask), 1)) if shared else clear
        rewrite(case, mask=mask, labels=[1] if shared else None)
    for case, (name,) in MISSING.items():
        rewrite(case, image=stand_in(name, np.zeros_like))
    return request.param


@pytest.fixture
def train(kind, real_dataset, no_pictures, plans, masks_json, monkeypatch, tmp_path):  # noqa: F811
    """`train(results, missing)` runs a whole training with nnU-Net's validation; what it left, and its validation."""
    monkeypatch.setattr("nnunetv2.training.nnUNetTrainer.nnUNetTrainer.default_num_processes", 1)
    gt = real_dataset.preprocessed / "gt_segmentations"
    gt.mkdir()
    for path in (real_dataset.raw / "labelsTr").glob("*.nii.gz"):
        (gt / path.name).write_bytes(path.read_bytes())

    def train(results, missing):
        content = json.loads(json.dumps(masks_json))
        content.setdefault("mgcl", {})["missing"] = missing
        for path in (real_dataset.raw_dataset_json, real_dataset.dataset_json):
            path.write_text(json.dumps(content))
        monkeypatch.setenv("nnUNet_results", str(tmp_path / results))
        trainer = tiny_trainer(plans, content, BLOCK_OF[kind])
        trainer.run_training()
        trainer.perform_actual_validation()
        fold = Path(trainer.output_folder)
        found = outcome(fold)
        found.pop("inputs.json")  # it holds the images' hashes
        for path in sorted((fold / "validation").iterdir()):
            found[path.name] = voxels(path) if path.name.endswith(".nii.gz") else path.read_text()
        found["summary.json"] = json.dumps(json.loads(found["summary.json"])["foreground_mean"])
        return found

    return train


def test_what_stands_in_changes_no_bit_of_weights_and_validation(train, rewrite, kind, tmp_path) -> None:  # noqa: F811
    expected = train("expected", MISSING)
    for case, (name,) in MISSING.items():
        rewrite(case, image=stand_in(name, lambda own, scale=CHANNEL[name] + 1: scale * noisy(own)))
    assert not differing(train("noise", MISSING), expected)
    if kind == "masks":  # it would be read if it counted
        names = {"network_weights", "tss.csv", "seed/PWI/network.pth", "coarse/PWI/network.pth"}
        taken = train("taken for images", {})
        assert differing({name: taken[name] for name in names}, {name: expected[name] for name in names}) == names

    (fold,) = (tmp_path / "expected").rglob("fold_0")
    said = rows(fold / "validation/tss.csv")
    assert said["case_0"]["lacks"] == "DWI" and said["case_5"]["lacks"] == ""
    if kind == "masks":
        summary = json.loads(expected["summary_modalities.json"])["cases"]
        assert summary["case_0"]["DWI"] is None
        assert not np.isin(expected["case_0.nii.gz"], [1, 3, 5, 7]).any()


def test_a_lesion_of_what_a_case_lacks_is_refused(kind, real_dataset, plans, masks_json) -> None:  # noqa: F811
    """A mask a modality tells whose lesion it is; one for all does not."""
    masks_json["mgcl"]["missing"] = {"case_2": ["FLAIR"]}
    for path in (real_dataset.raw_dataset_json, real_dataset.dataset_json):
        path.write_text(json.dumps(masks_json))
    given = real_dataset, plans, "2d", 1, lambda _: None
    if kind == "shared":
        prepare_dataset(*given, uses_pool=False)
        return
    with pytest.raises(UserError, match="a lesion of FLAIR"):
        prepare_dataset(*given, uses_pool=False)


def test_fold_whose_training_cases_all_lack_a_modality_is_refused(train, rewrite) -> None:  # noqa: F811
    for case in SPLIT["train"]:
        rewrite(case, mask=without(4))
    with pytest.raises(SystemExit, match="all training cases lack PWI"):
        train("none", {case: ["PWI"] for case in SPLIT["train"]})
