from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nnunet_mgcl.evaluation.calibration.maps import Platt
from nnunet_mgcl.evaluation.calibration.stored import KEY, changed_folds, store_calibration, stored_calibration
from nnunet_mgcl.system.errors import UserError

FITTED = {
    "method": "platt",
    "parameters": {"slope": 2.0, "intercept": -1.0},
    "cases": 40,
    "positive": 18,
    "reason": None,
    "reliability": {"raw": [{"cases": 40}], "calibrated": []},
    "measures": {},
}
BLOCK = {key: FITTED[key] for key in ("method", "parameters", "cases", "positive", "reliability")}
BLOCK |= {"folds": [0], "validation_sha256": {"0": "a"}}
NO_MAP = dict.fromkeys(FITTED) | {"reason": "too few"}


@pytest.fixture
def model(tmp_path, plans) -> Path:
    for fold in (0, 1):
        folder = tmp_path / f"fold_{fold}" / "validation"
        folder.mkdir(parents=True)
        (folder / "tss.csv").write_text(f"case,probability\nc{fold},0.5\n")
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    return tmp_path


def left(model: Path) -> dict[str, Any]:
    return json.loads((model / "plans.json").read_text())


def store(model: Path, calibration: dict[str, Any], reason: str | None = None, all_folds: bool = True) -> str | None:
    tss = {"reason": reason} if reason else {"reason": None, "calibration": calibration}
    return store_calibration(model, tss, [0, 1], all_folds)


def test_what_is_stored_is_read_and_the_rest_of_the_plan_stays(model, plans) -> None:
    assert "platt, from 40 cases" in store(model, FITTED)
    assert {key: value for key, value in left(model).items() if key != KEY} == plans
    own = stored_calibration(left(model), model / "plans.json")
    assert own.parameters == Platt(slope=2, intercept=-1) and own.apply(0.5) == pytest.approx(0.2689, abs=1e-4)
    assert own.folds == [0, 1] and own.reliability == FITTED["reliability"]
    assert own.validation_sha256["1"] == sha256(b"case,probability\nc1,0.5\n").hexdigest()


def test_an_isotonic_map_of_an_earlier_version_is_read_and_applied(tmp_path, plans) -> None:
    """Lines between the knots, flat beyond them."""
    lines = {"probability": [0.2, 0.4, 0.6], "calibrated": [0.1, 0.1, 0.7]}
    content = plans | {KEY: BLOCK | {"method": "isotonic", "parameters": lines, "cases": 1200}}
    own = stored_calibration(content, tmp_path / "plans.json")
    assert [own.apply(p) for p in (0, 0.3, 0.5, 1)] == pytest.approx([0.1, 0.1, 0.4, 0.7])


@pytest.mark.parametrize("reason", [None, "no head"])
def test_a_model_that_cannot_be_calibrated_keeps_no_earlier_map(model, plans, reason) -> None:
    store(model, FITTED)
    said = store(model, NO_MAP, reason)
    assert left(model) == plans
    assert (reason or "too few") in said and "removed the earlier one" in said


def test_without_an_earlier_map_the_plan_is_left_alone(model, plans) -> None:
    before = (model / "plans.json").stat().st_mtime_ns
    assert "none" in store(model, NO_MAP) and store(model, NO_MAP, "no head") is None
    assert (model / "plans.json").stat().st_mtime_ns == before
    assert stored_calibration(plans, model / "plans.json") is None


def test_some_folds_change_nothing(model) -> None:
    store(model, FITTED)
    before = (model / "plans.json").read_bytes()
    assert "left as it is" in store(model, NO_MAP, all_folds=False)
    assert store(model, NO_MAP, "no head", all_folds=False) is None
    assert (model / "plans.json").read_bytes() == before


@pytest.mark.parametrize(
    ("block", "place"),
    [
        (BLOCK | {"parameters": {"slope": -2.0, "intercept": 0.0}}, ".parameters"),
        (BLOCK | {"method": "isotonic"}, ""),
        (BLOCK | {"method": "temperature"}, ".method"),
        (BLOCK | {"folds": None}, ".folds"),
        (BLOCK | {"later": 1}, ".later"),
        (None, ""),
        ("platt", ""),
        ({}, ".method"),
    ],
)
def test_a_broken_or_foreign_map_is_refused_with_the_place(tmp_path, block, place) -> None:
    with pytest.raises(UserError) as error:
        stored_calibration({KEY: block}, tmp_path / "plans.json")
    assert f"{tmp_path / 'plans.json'}, {KEY}{place}" in str(error.value) and "mgcl evaluate" in str(error.value)


def test_folds_that_were_validated_again_are_named(model) -> None:
    store(model, FITTED)
    own = stored_calibration(left(model), model / "plans.json")
    assert changed_folds(own, model) == []
    (model / "fold_1" / "validation" / "tss.csv").write_text("case,probability\nc1,0.6\n")
    assert changed_folds(own, model) == [1]
    (model / "fold_1" / "validation" / "tss.csv").unlink()
    assert changed_folds(own, model) == [], "as after nnU-Net's export"
