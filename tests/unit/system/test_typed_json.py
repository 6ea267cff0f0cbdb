"""Other JSON files that commands read: what is no file of that kind is one message with the key."""

from __future__ import annotations

import json

import pytest

from nnunet_mgcl import __version__
from nnunet_mgcl.evaluation.runs.stored_evaluation import OTHER_KEYS, stored_evaluation
from nnunet_mgcl.evaluation.runs.tss_validation import read_tss_summary
from nnunet_mgcl.plan.presets import load_preset
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.versions import read_versions

NO_OBJECT = [None, [], 5, "text"]


def refused(read, path, content, key=""):
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        read(path)
    assert str(path) in error.value.where and key in error.value.where


@pytest.mark.parametrize(
    ("content", "key"),
    [
        *((content, "") for content in NO_OBJECT),
        *(({"heads": value}, "heads") for value in NO_OBJECT),
        ({"heads": {"mlp": {}}}, "heads.mlp.AUROC"),
        ({"heads": {"mlp": {"AUROC": "1"}}}, "heads.mlp.AUROC"),
        ({"positive": "1"}, "positive"),
    ],
)
def test_tss_summary(tmp_path, content, key):
    refused(read_tss_summary, tmp_path / "tss_summary.json", content, key)


@pytest.mark.parametrize("content", [None, {}, 5, [5], [{"torch": 2}]])
def test_versions(tmp_path, content):
    refused(read_versions, tmp_path / "versions.json", content)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        *((content, "") for content in NO_OBJECT),
        *(({"configurations": value}, "configurations") for value in NO_OBJECT),
        ({"configurations": {"2d": []}}, "configurations.2d"),
        ({"configurations": {"2d": {"mgcl": 5}}}, "configurations.2d.mgcl"),
        ({"configurations": {}, "own": 1}, "own"),
        ({"description": "x"}, "configurations"),
    ],
)
def test_preset(tmp_path, content, key):
    refused(lambda path: load_preset(str(path)), tmp_path / "preset.json", content, key)


@pytest.mark.parametrize(
    "change",
    [
        {"folds": {}},
        {"folds": ["0"]},
        {"settings": []},
        {"settings": {"surface_dice_tolerance_mm": "2", "sensitivity": 0.9}},
        {"settings": {"surface_dice_tolerance_mm": float("inf"), "sensitivity": 0.9}},
        {"cases": [5]},
        {"cases": [{"case": "a"}]},
        {"tss": None},
        {"tss": {"reason": None}},
        {"tss": {"reason": None, "cases": 1, "measures": {}, "operating_points": {}, "calibration": {}}},
    ],
)
def test_evaluation_of_another_form_is_of_no_use(tmp_path, change):
    good = {
        "nnunet_mgcl": __version__, "dataset": "D", "model": "m", "folds": [], "cases_without_fold": [],
        "divided_patients": [], "settings": {"surface_dice_tolerance_mm": 2, "sensitivity": 0.9},
        "smallest_voxel_side_mm": 1.0, "segmentation": {}, "tss": {"reason": "no head"}, "cases": [],
    }  # fmt: skip
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(good))
    assert stored_evaluation(path) == (good, None)
    path.write_text(json.dumps(good | change))
    assert stored_evaluation(path) == (None, OTHER_KEYS)
