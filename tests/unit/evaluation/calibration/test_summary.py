from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from nnunet_mgcl.evaluation.calibration.maps import Calibration, fit_calibration
from nnunet_mgcl.evaluation.calibration.summary import calibrated_cases, cross_fit, summarise_calibration
from nnunet_mgcl.evaluation.measures.probability import expected_calibration_error
from nnunet_mgcl.evaluation.tss_cases import TSSCases
from tests.unit.evaluation.cases import FOLDS, splits_of
from tests.unit.evaluation.cases import make_cases as cases_of_folds

pytestmark = pytest.mark.usefixtures("few_resamples")


def make_cases():
    """Probabilities that are too low."""
    return cases_of_folds(20, highest=0.6)


def calibrated(cases, folds=range(FOLDS)) -> list[float | None]:
    maps = cross_fit(cases, splits_of(cases), list(folds))
    return [case.calibrated_probability for case in calibrated_cases(cases, maps)]


def summarise(cases, folds=range(FOLDS)):
    maps = cross_fit(cases, splits_of(cases), list(folds))
    return summarise_calibration(TSSCases.of(calibrated_cases(cases, maps)), maps)


@pytest.mark.parametrize("turned", [{"tss_class": 0}, {"probability": 0.001}])
@pytest.mark.parametrize("number", [1, 25, 59])
def test_no_validation_case_takes_part_in_its_own_calibration(number, turned) -> None:
    """Whatever is known about a case, the other cases of its fold stay where they are; those of other folds move."""
    cases = make_cases()
    changed = [replace(case, **turned) if i == number else case for i, case in enumerate(cases)]
    before, after = calibrated(cases), calibrated(changed)
    fold = [i for i, case in enumerate(cases) if case.fold == cases[number].fold and i != number]
    others = [i for i, case in enumerate(cases) if case.fold != cases[number].fold]
    assert [before[i] for i in fold] == [after[i] for i in fold]
    assert all(before[i] != after[i] for i in others)
    assert (before[number] == after[number]) == ("tss_class" in turned)


def test_maps_are_fitted_on_a_fold_s_training_cases_and_for_new_patients_on_all() -> None:
    def expected(cases):
        return fit_calibration(np.array([c.probability for c in cases]), np.array([c.tss_class == 1 for c in cases]))

    cases = make_cases()
    for fold in range(FOLDS):
        training = [case for case in cases if case.fold != fold]
        assert cross_fit(cases, splits_of(cases), [0, 1, 2])[fold] == expected(training)
    result = summarise(cases)
    assert {key: result[key] for key in Calibration.model_fields} == expected(cases).model_dump()
    assert result["cases"] == 60 and result["positive"] == 30 and result["reason"] is None


def test_measures_of_raw_and_calibrated_probabilities() -> None:
    cases = make_cases()
    result = summarise(cases)
    actual = np.array([case.tss_class == 1 for case in cases])
    for kind, values in (("raw", [case.probability for case in cases]), ("calibrated", calibrated(cases))):
        p, pooled = np.array(values), result["measures"][kind]["pooled"]
        assert pooled["cases"] == 60 and pooled["reason"] is None
        assert pooled["Brier"]["value"] == pytest.approx(brier_score_loss(actual, p))
        assert pooled["log_loss"]["value"] == pytest.approx(log_loss(actual, np.clip(p, 1e-6, 1 - 1e-6)))
        assert pooled["ECE"]["value"] == pytest.approx(expected_calibration_error(p, actual))
        assert sum(point["cases"] for point in result["reliability"][kind]) == 60
    raw, better = (result["measures"][kind]["pooled"] for kind in ("raw", "calibrated"))
    assert all(better[name]["value"] < raw[name]["value"] for name in ("Brier", "ECE", "log_loss"))


def test_a_map_that_raises_the_cross_fitted_log_loss_is_none() -> None:
    """Raw probabilities that are right already."""
    rng, cases = np.random.default_rng(1), make_cases()
    p = rng.uniform(0.1, 0.9, len(cases))
    cases = [replace(c, probability=q, tss_class=int(rng.random() < q)) for c, q in zip(cases, p.tolist(), strict=True)]
    result = summarise(cases)
    raw, fitted = (result["measures"][kind]["pooled"]["log_loss"]["value"] for kind in ("raw", "calibrated"))
    assert fitted > raw
    assert result["reason"] == f"calibration would not help: cross-fitted log loss {fitted:.3f}, raw {raw:.3f}"
    assert result["method"] is None and result["parameters"] is None
    assert all(own["method"] == "platt" for own in result["per_fold"].values())


def test_the_rule_is_about_the_log_loss_of_all_folds_together() -> None:
    """One fold's map hurts, and the others help more."""
    cases = [replace(c, probability=0.4) if c.fold == 0 else c for c in make_cases()]
    result = summarise(cases)
    raw, fitted = (result["measures"][kind]["per_fold"]["0"]["log_loss"] for kind in ("raw", "calibrated"))
    assert fitted > raw and result["reason"] is None and result["method"] == "platt"


def test_one_fold_has_no_cross_fitted_probabilities_and_says_so() -> None:
    cases = [replace(case, fold=1) for case in make_cases()]
    result = summarise(cases, folds=[1])
    assert result["per_fold"]["1"]["method"] is None and "evaluate more folds" in result["per_fold"]["1"]["reason"]
    assert result["method"] is None and "cannot be told" in result["reason"]
    pooled = result["measures"]["calibrated"]["pooled"]
    assert pooled["Brier"]["value"] is None and pooled["Brier"]["ci95"] is None and pooled["reason"]
    assert result["measures"]["raw"]["pooled"]["cases"] == 60, "the diagram of the raw ones can be drawn all the same"


def test_a_fold_that_has_no_map_is_left_out_of_both_kinds() -> None:
    """Fold 0 has all but five positive cases, so that too few train the maps of the other folds."""
    cases = [replace(c, tss_class=0 if c.fold and int(c.case[1:]) % 8 != 1 else c.tss_class) for c in make_cases()]
    result = summarise(cases)
    reasons = {fold: own["reason"] for fold, own in result["per_fold"].items()}
    assert "positive" in reasons["0"] and reasons["1"] is None and reasons["2"] is None
    assert [result["measures"][kind]["pooled"]["cases"] for kind in ("raw", "calibrated")] == [40, 40]
    assert result["measures"]["calibrated"]["per_fold"]["0"]["Brier"] is None
    assert result["measures"]["calibrated"]["per_fold"]["0"]["reason"]


def test_a_case_of_unknown_class_is_calibrated_and_trains_no_map() -> None:
    cases = make_cases()
    unknown = [replace(case, tss_class=None) if case.case == "c30" else case for case in cases]
    assert calibrated(unknown)[30] == calibrated(cases)[30]
    assert calibrated(unknown)[0] != calibrated(cases)[0]
    assert summarise(unknown)["cases"] == 59
