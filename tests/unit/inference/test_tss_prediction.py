from __future__ import annotations

import pytest

from nnunet_mgcl.evaluation.calibration.maps import Calibration, Platt
from nnunet_mgcl.inference.tss_prediction import TSSPrediction

PLATT = Calibration(method="platt", parameters=Platt(slope=0.5, intercept=1.0), cases=40, positive=20)


def test_spread_is_that_of_the_folds_as_the_probability_is_made_of_them() -> None:
    raw = TSSPrediction.of_folds({"0": 0.2, "1": 0.4, "3": 0.9}, None)
    assert (raw.probability, raw.probability_raw, raw.predicted_class, raw.calibration) == (0.5, 0.5, 1, "none")
    assert raw.spread == pytest.approx(((0.3**2 + 0.1**2 + 0.4**2) / 2) ** 0.5) and raw.folds == raw.folds_raw
    found = TSSPrediction.of_folds(raw.folds_raw, PLATT, "a")
    assert (found.calibration, found.case, found.probability_raw, found.folds_raw) == ("platt", "a", 0.5, raw.folds_raw)
    calibrated = [PLATT.apply(p) for p in (0.2, 0.4, 0.9)]
    mean = sum(calibrated) / 3
    assert found.probability == pytest.approx(mean, abs=1e-6) and list(found.folds.values()) == calibrated
    assert found.spread == pytest.approx((sum((p - mean) ** 2 for p in calibrated) / 2) ** 0.5)


def test_single_fold_has_no_spread() -> None:
    assert TSSPrediction.of_folds({"all": 0.4999999}, None).spread is None


def test_what_counts_are_the_six_decimals_of_the_table() -> None:
    found = TSSPrediction.of_folds({"0": 0.4999999}, None)
    assert (found.probability, found.predicted_class, found.folds) == (0.5, 1, {"0": 0.5})
