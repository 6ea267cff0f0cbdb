"""The tiny dataset with six known times, three folds of a patient of each class, and a segmentation model's folds."""

from __future__ import annotations

import json
import shutil

import pytest

from nnunet_mgcl.cli import main
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.tss.classifiers.methods import METHODS

SPLITS = [["case_0", "case_3"], ["case_1", "case_4"], ["case_2", "case_5"]]
"""Validation cases; the first of each has TSS < 4.5 h."""
MODEL = "SegTrainer__nnUNetPlans__2d"


@pytest.fixture
def splits():
    """Validation cases of each fold."""
    return SPLITS


@pytest.fixture
def dataset(tiny_dataset, splits, monkeypatch, tmp_path):
    """Its layout; `nnUNet_results` holds a model that has predicted the truth."""
    cases = [case for val in splits for case in val]
    rows = [f"{case},{hours}" for case, hours in zip(sorted(cases), (1, 2, 3, 6, 8, 9), strict=True)]
    (tiny_dataset.raw / "tss.csv").write_text("\n".join(["case,tss_hours", *rows, ""]))
    folds = [{"train": sorted(set(cases) - set(val)), "val": val} for val in splits]
    tiny_dataset.splits.write_text(json.dumps(folds))
    monkeypatch.setenv("nnUNet_raw", str(tiny_dataset.raw.parent))
    monkeypatch.setenv("nnUNet_preprocessed", str(tiny_dataset.preprocessed.parent))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    model = tmp_path / "results" / tiny_dataset.name / MODEL
    shutil.copytree(tiny_dataset.raw / "labelsTr", tiny_dataset.preprocessed / "gt_segmentations")
    for number, val in enumerate(splits):
        validation = model / f"fold_{number}/validation"
        write_json(validation / "summary.json", {})
        for case in val:
            shutil.copy(tiny_dataset.raw / "labelsTr" / f"{case}.nii.gz", validation)
    shutil.copy(tiny_dataset.plans("nnUNetPlans"), model / "plans.json")
    shutil.copy(tiny_dataset.dataset_json, model / "dataset.json")
    return tiny_dataset


@pytest.fixture
def classifier(dataset):
    """`classifier("resnet", "-f", "0")` runs the command; returns the results folder."""

    def run(method, *more):
        if METHODS[method].masks == "predicted":
            more = ("--masks", MODEL, *more)
        arguments = ["classifier", "-d", "901", "-c", "2d", "--method", method, "-device", "cpu", *more]
        assert main(arguments) == 0
        return dataset.preprocessed.parents[1] / "results" / dataset.name / f"{method}__nnUNetPlans__2d"

    return run
