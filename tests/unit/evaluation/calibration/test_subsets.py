"""Maps for patients who lack a modality lie in the block of the whole cases."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from nnunet_mgcl.evaluation.calibration.maps import Calibration, Platt
from nnunet_mgcl.evaluation.calibration.stored import KEY, map_of, store_calibration, store_subset, stored_calibration


def told(slope: float | None) -> dict:
    """What `evaluation.json` says about the TSS; without a slope there was nothing to fit."""
    if slope is None:
        return {"reason": None, "calibration": {"reason": "too few cases"}}
    own = Calibration(method="platt", parameters=Platt(slope=slope, intercept=0.0), cases=40, positive=20)
    return {"reason": None, "calibration": {"reason": None, "reliability": {}, **own.model_dump()}}


@pytest.fixture
def model(tmp_path, plans):
    """Two folds, validated whole and without PWI."""
    for fold in (0, 1):
        for name in ("validation", "validation_without_PWI"):
            folder = tmp_path / f"fold_{fold}" / name
            folder.mkdir(parents=True)
            (folder / "tss.csv").write_text(f"{name} {fold}")
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    return tmp_path


def block(model) -> dict:
    return json.loads((model / "plans.json").read_text()).get(KEY)


def without_pwi(model, slope, all_folds=True) -> str:
    return store_subset(model, told(slope), [0, 1], all_folds, ["PWI"], "DWI+FLAIR")


def test_a_map_of_a_subset_is_stored_kept_and_removed(model) -> None:
    assert "whole cases have none" in without_pwi(model, 2.0) and block(model) is None
    store_calibration(model, told(3.0), [0, 1], True)
    whole = block(model)
    assert "all folds are needed" in without_pwi(model, 2.0, all_folds=False) and block(model) == whole
    without_pwi(model, 2.0)
    own = block(model)["subsets"]["DWI+FLAIR"]
    assert own["parameters"]["slope"] == 2.0 and {k: v for k, v in block(model).items() if k != "subsets"} == whole
    assert own["validation_sha256"]["1"] == sha256(b"validation_without_PWI 1").hexdigest()
    store_calibration(model, told(4.0), [0, 1], True)
    assert block(model)["parameters"]["slope"] == 4.0 and block(model)["subsets"]["DWI+FLAIR"] == own
    assert "too few cases" in without_pwi(model, None)
    assert block(model) == whole | {"parameters": {"slope": 4.0, "intercept": 0.0}}


def test_each_set_of_modalities_has_its_own_map(model) -> None:
    store_calibration(model, told(3.0), [0, 1], True)
    without_pwi(model, 2.0)
    path = model / "plans.json"
    stored = stored_calibration(json.loads(path.read_text()), path)
    slopes = {
        present: own and own.parameters.slope
        for present in ("DWI+FLAIR+PWI", "DWI+FLAIR", "DWI")
        if (own := map_of(stored, present, "DWI+FLAIR+PWI")) or True
    }
    assert slopes == {"DWI+FLAIR+PWI": 3.0, "DWI+FLAIR": 2.0, "DWI": None}
    assert map_of(None, "DWI", "DWI") is None
