from __future__ import annotations

import json
import os
from copy import deepcopy
from pathlib import Path

import pytest

from nnunet_mgcl import __version__
from nnunet_mgcl.evaluation.runs.comparable_evaluations import comparable_evaluations
from nnunet_mgcl.system.errors import UserError

CONTENT = {
    "nnunet_mgcl": __version__,
    "dataset": "D",
    "model": "M",
    "folds": [0, 1],
    "settings": {"surface_dice_tolerance_mm": 2.0, "sensitivity": 0.9},
    "cases_without_fold": [],
    "divided_patients": [],
    "smallest_voxel_side_mm": 1.0,
    "segmentation": {},
    "tss": {"reason": None, "cases": 4, "measures": {}, "operating_points": {"calibrated_0.5": {}}, "calibration": {}},
    "cases": [
        {"case": f"case_{n}", "fold": n % 2, "patient": f"p{n}", "tss_class": 0, "probability": 0.5,
         "calibrated_probability": None, "targets": {name: {"volume_ml": 2.5, "dice": 0.5} for name in "AB"}}
        for n in range(4)
    ],
}  # fmt: skip


@pytest.fixture
def models(tmp_path) -> list[Path]:
    models = [tmp_path / name for name in ("first", "second", "third")]
    for model in models:
        for fold in (0, 1):
            (model / f"fold_{fold}" / "validation").mkdir(parents=True)
            (model / f"fold_{fold}" / "validation" / "tss.csv").touch()
        (model / "evaluation.json").write_text(json.dumps(CONTENT))
    return models


def refusal(models, folds=None) -> str:
    with pytest.raises(UserError) as error:
        comparable_evaluations(models, folds)
    return str(error.value)


def test_what_depends_on_the_model_may_differ(models) -> None:
    content = deepcopy(CONTENT)
    content["cases"][1]["probability"] = None
    content["cases"][1]["targets"]["A"]["dice"] = 0.9
    content["cases"].reverse()
    (models[1] / "evaluation.json").write_text(json.dumps(content))
    assert comparable_evaluations(models, None) == [CONTENT, content, CONTENT]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(dataset="E"), "dataset"),
        (lambda c: c.update(folds=[1]), "folds"),
        (lambda c: c["settings"].update(surface_dice_tolerance_mm=9), "settings"),
        (lambda c: c["cases"].pop(2), "case_2 only in one"),
        (lambda c: c["cases"][2].update(fold=1), "case case_2, fold"),
        (lambda c: c["cases"][2].update(patient="p0"), "case case_2, patient"),
        (lambda c: c["cases"][2].update(tss_class=1), "case case_2, tss_class"),
        (lambda c: c["cases"][2]["targets"]["B"].update(volume_ml=1.0), "case case_2, reference volume of B in ml"),
        (lambda c: c["cases"][2]["targets"].pop("B"), "case case_2, targets"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_runs_that_differ_are_refused_with_the_place(models, change, message) -> None:
    content = deepcopy(CONTENT)
    change(content)
    (models[2] / "evaluation.json").write_text(json.dumps(content))
    assert message in refusal(models) and str(models[2]) in refusal(models)


def test_an_evaluation_of_some_folds_is_read_from_their_file(models) -> None:
    some_folds = CONTENT | {"folds": [1]}
    assert "evaluation_folds_1.json" in refusal(models, [1])
    for model in models:
        (model / "evaluation_folds_1.json").write_text(json.dumps(some_folds))
    assert comparable_evaluations(models, [1]) == [some_folds] * 3


def test_all_folds_may_be_named_and_no_model_twice(models) -> None:
    assert comparable_evaluations(models, [0, 1]) == [CONTENT] * 3
    assert "twice" in refusal([models[0], models[1], models[0] / ".." / "second"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(CONTENT | {"nnunet_mgcl": "0.0.1"}), "of nnunet_mgcl 0.0.1"),
        ('{"folds": [', "not valid JSON"),
        ("null", "not the content"),
    ],
)
def test_an_evaluation_of_another_version_is_refused(models, text, message) -> None:
    (models[1] / "evaluation.json").write_text(text)
    said = refusal(models)
    assert str(models[1]) in said and message in said and "mgcl evaluate" in said


def test_an_evaluation_whose_validation_has_changed_is_refused(models) -> None:
    changed, gone = (models[1] / "fold_1" / "validation" / "tss.csv", models[2] / "fold_0" / "validation" / "tss.csv")
    gone.unlink()
    assert "fold_0/validation/tss.csv is no longer there" in refusal(models)
    later = changed.stat().st_mtime + 3600
    os.utime(changed, (later, later))
    assert "older than fold_1/validation/tss.csv" in refusal(models)
