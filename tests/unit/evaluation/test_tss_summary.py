from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nnunet_mgcl.evaluation.calibration.summary import calibrated_cases, cross_fit
from nnunet_mgcl.evaluation.statistics.intervals import wilson
from nnunet_mgcl.evaluation.tss_summary import summarise_tss
from tests.unit.evaluation.cases import FOLDS, splits_of
from tests.unit.evaluation.cases import make_cases as cases_of_folds

pytestmark = pytest.mark.usefixtures("few_resamples")


def make_cases():
    return cases_of_folds(8)


def summarise(cases, folds=range(FOLDS)):
    cases, splits = [case for case in cases if case.fold in folds], splits_of(cases)
    maps = cross_fit(cases, splits, list(folds))
    return summarise_tss(calibrated_cases(cases, maps), maps, splits, list(folds), 0.9)


def test_folds_and_pooled_cases() -> None:
    cases = make_cases()
    result = summarise(cases)["measures"]

    def area(of):
        return roc_auc_score([case.tss_class for case in of], [case.probability for case in of])

    areas = [area([case for case in cases if case.fold == fold]) for fold in range(FOLDS)]
    assert result["folds"]["AUROC"]["mean"] == pytest.approx(np.mean(areas))
    assert result["folds"]["AUROC"]["sd"] == pytest.approx(np.std(areas, ddof=1))
    pooled = result["pooled"]["AUROC"]
    assert pooled["value"] == pytest.approx(area(cases))
    assert pooled["ci95"][0] < pooled["value"] < pooled["ci95"][1]


@pytest.mark.parametrize("fold", range(FOLDS))
def test_no_validation_case_takes_part_in_choosing_its_own_threshold(fold) -> None:
    """Whatever is known about a fold's cases, its threshold stays; those of the other folds move."""
    cases = make_cases()
    turned = [
        replace(c, probability=1 - c.probability, tss_class=1 - c.tss_class) if c.fold == fold else c for c in cases
    ]
    points = [summarise(x)["operating_points"] for x in (cases, turned)]
    thresholds = [[own[name]["thresholds"] for name in ("youden", "sensitivity_0.9")] for own in points]
    for before, after in zip(*thresholds, strict=True):
        assert before[str(fold)] == after[str(fold)]
    assert thresholds[0] != thresholds[1]


def test_a_threshold_judges_the_fold_that_it_was_chosen_for() -> None:
    cases = make_cases()
    point = summarise(cases)["operating_points"]["youden"]
    limits = {fold: point["thresholds"][str(fold)]["value"] for fold in range(FOLDS)}
    assert len(set(limits.values())) > 1
    right = [(case.probability >= limits[case.fold]) == (case.tss_class == 1) for case in cases]
    assert point["pooled"]["ACC"]["value"] == pytest.approx(np.mean(right))
    per_fold = [np.mean([r for r, case in zip(right, cases, strict=True) if case.fold == f]) for f in range(FOLDS)]
    assert point["folds"]["ACC"]["mean"] == pytest.approx(np.mean(per_fold))


def test_one_fold_has_no_out_of_fold_threshold_and_says_so() -> None:
    result = summarise(make_cases(), folds=[1])
    youden = result["operating_points"]["youden"]
    assert youden["thresholds"]["1"]["value"] is None
    assert "evaluate more folds" in youden["thresholds"]["1"]["reason"]
    assert youden["per_fold"]["1"]["ACC"] is None and youden["folds"]["ACC"]["mean"] is None
    accuracy = youden["pooled"]["ACC"]
    assert accuracy["value"] is None and accuracy["ci95"] is None and accuracy["n"] == 0 and youden["pooled"]["reason"]
    assert result["measures"]["folds"]["AUROC"]["reason"] == "one fold only: no standard deviation"
    assert result["operating_points"]["0.5"]["pooled"]["ACC"]["value"] is not None


def test_a_fold_of_one_class_is_left_out_of_what_needs_two() -> None:
    cases = [replace(case, tss_class=1) if case.fold == 0 else case for case in make_cases()]
    result = summarise(cases)
    fold = result["measures"]["per_fold"]["0"]
    assert fold["AUROC"] is None and fold["Brier"] is not None and fold["reason"] == "no negative cases"
    assert result["measures"]["folds"]["AUROC"]["n"] == 2
    assert result["operating_points"]["0.5"]["folds"]["SPE"]["n"] == 2
    assert result["operating_points"]["0.5"]["folds"]["SEN"]["n"] == 3


def test_cases_without_a_known_tss_are_left_out_and_counted() -> None:
    cases = [replace(case, tss_class=None) if case.case in ("c00", "c09") else case for case in make_cases()]
    result = summarise(cases)
    assert (result["cases"], result["unknown_tss"]) == (22, 2)
    pooled = summarise([replace(case, tss_class=None) for case in cases])["measures"]["pooled"]
    assert pooled["AUROC"] == {"value": None, "ci95": None, "ci_method": None, "ci_reason": None} and pooled["reason"]


def test_intervals_are_of_patients() -> None:
    cases = make_cases()
    results = [summarise(x) for x in (cases, [replace(c, patient=f"p{n // 4}") for n, c in enumerate(cases)])]
    assert [result["patients"] for result in results] == [24, 6]
    one, other = (result["measures"]["pooled"]["Brier"]["ci95"] for result in results)
    assert one != other


def test_calibrated_probabilities_are_judged_at_half_where_their_fold_has_a_map() -> None:
    cases = [replace(case, fold=number % 3) for number, case in enumerate(make_cases())] * 2
    cases = [replace(case, case=f"{number:02}", probability=case.probability / 4) for number, case in enumerate(cases)]
    splits = splits_of(cases)
    maps = {**cross_fit(cases, splits, [0, 1, 2]), 1: "no reason"}
    cases = calibrated_cases(cases, maps)
    points = summarise_tss(cases, maps, splits, [0, 1, 2], 0.9)["operating_points"]
    assert points["0.5"]["pooled"]["SEN"]["value"] == 0, "raw probabilities end at 0.25"
    assert points["calibrated_0.5"]["thresholds"]["1"] == {"value": None, "reason": "no reason"}
    judged = [case for case in cases if case.fold != 1]
    right = [(case.calibrated_probability >= 0.5) == (case.tss_class == 1) for case in judged]
    assert points["calibrated_0.5"]["pooled"]["cases"] == 32
    assert points["calibrated_0.5"]["pooled"]["ACC"]["value"] == pytest.approx(np.mean(right))
    assert np.mean(right) > 0.5


def test_rates_that_every_resample_repeats_have_wilson_s_interval() -> None:
    """All cases are called positive: SEN 1 and SPE 0 on every resample, but not ACC, the share of positives."""
    cases = [replace(case, probability=0.9, tss_class=int(case.case > "c08")) for case in make_cases()]
    pooled = summarise(cases)["operating_points"]["0.5"]["pooled"]
    assert pooled["ACC"]["ci_method"] == "bootstrap"
    for rate, hits, n in (("SEN", 15, 15), ("SPE", 0, 9)):
        measured = pooled[rate]
        assert (measured["n"], measured["ci_method"], measured["ci_reason"]) == (n, "wilson", None)
        assert measured["value"] == pytest.approx(hits / n) and measured["ci95"] == wilson(hits, n)
    of_one = summarise([replace(case, patient="p") for case in cases])["operating_points"]["0.5"]["pooled"]["SEN"]
    assert of_one["ci95"] is None and of_one["ci_reason"] == "fewer than two patients"


def test_no_skill_is_what_the_frequency_of_positives_alone_would_reach() -> None:
    cases = [replace(case, tss_class=int(case.case > "c08")) for case in make_cases()]
    result, constant = summarise(cases), summarise([replace(case, probability=15 / 24) for case in cases])
    pooled, reached = (found["measures"]["pooled"] for found in (result, constant))
    for name in ("AUROC", "AP", "Brier", "log_loss"):
        assert pooled[name]["no_skill"] == pytest.approx(reached[name]["value"], abs=1e-12)
    assert "no_skill" not in pooled["ECE"]
    assert result["operating_points"]["0.5"]["pooled"]["ACC"]["no_skill"] == 15 / 24
