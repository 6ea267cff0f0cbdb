from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nnunet_mgcl.evaluation.calibration.summary import calibrated_cases, cross_fit
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.tss_summary import summarise_tss

pytestmark = pytest.mark.usefixtures("few_resamples")
FOLDS = 3
CASES_A_FOLD = 8


def make_cases(seed: int = 0) -> list[CaseScores]:
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(FOLDS * CASES_A_FOLD):
        actual = number % 2
        probability = float(np.clip(0.3 * actual + 0.7 * rng.random(), 0, 1))
        cases.append(CaseScores(f"c{number:02}", number // CASES_A_FOLD, f"c{number:02}", {}, actual, probability))
    return cases


def splits_of(cases: list[CaseScores]) -> list[dict[str, list[str]]]:
    return [
        {"train": [c.case for c in cases if c.fold != f], "val": [c.case for c in cases if c.fold == f]}
        for f in range(FOLDS)
    ]


def summarise(cases, folds=range(FOLDS)):
    cases, splits = [case for case in cases if case.fold in folds], splits_of(cases)
    maps = cross_fit(cases, splits, list(folds))
    return summarise_tss(calibrated_cases(cases, maps), maps, splits, list(folds), 0.9)


def test_folds_and_pooled_cases() -> None:
    cases = make_cases()
    result = summarise(cases)["measures"]
    areas = [
        roc_auc_score([c.tss_class for c in cases if c.fold == f], [c.probability for c in cases if c.fold == f])
        for f in range(FOLDS)
    ]
    assert result["folds"]["AUROC"]["mean"] == pytest.approx(np.mean(areas))
    assert result["folds"]["AUROC"]["sd"] == pytest.approx(np.std(areas, ddof=1))
    pooled = result["pooled"]["AUROC"]
    assert pooled["value"] == pytest.approx(roc_auc_score([c.tss_class for c in cases], [c.probability for c in cases]))
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


def test_wanted_sensitivity_names_the_operating_point() -> None:
    cases = make_cases()
    maps = dict.fromkeys(range(FOLDS), "none")
    result = summarise_tss(cases, maps, splits_of(cases), [0, 1, 2], 0.75)
    assert set(result["operating_points"]) == {"0.5", "calibrated_0.5", "youden", "sensitivity_0.75"}


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


def test_a_fold_that_predicts_one_class_only_is_judged_all_the_same() -> None:
    cases = [replace(case, probability=0.9) if case.fold == 0 else case for case in make_cases()]
    fold = summarise(cases)["operating_points"]["0.5"]["per_fold"]["0"]
    assert (fold["SEN"], fold["SPE"]) == (1, 0)


def test_cases_without_a_known_tss_are_left_out_and_counted() -> None:
    cases = [replace(case, tss_class=None) if case.case in ("c00", "c09") else case for case in make_cases()]
    result = summarise(cases)
    assert (result["cases"], result["unknown_tss"]) == (22, 2)


def test_no_known_tss_at_all_is_undefined_with_a_reason() -> None:
    result = summarise([replace(case, tss_class=None) for case in make_cases()])
    assert result["cases"] == 0
    area = result["measures"]["pooled"]["AUROC"]
    assert area["value"] is None and area["ci95"] is None and "no_skill" not in area
    assert result["measures"]["pooled"]["reason"]


def test_patients_with_several_cases_widen_the_interval() -> None:
    cases = make_cases()
    grouped = [replace(case, patient=f"p{number // 4}") for number, case in enumerate(cases)]
    assert summarise(grouped)["patients"] == 6
    widths = [np.diff(summarise(x)["measures"]["pooled"]["Brier"]["ci95"])[0] for x in (cases, grouped)]
    assert widths[0] != widths[1]


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


def wilson(hits: int, n: int) -> list[float]:
    """By its definition: the rates that lie within 1.96 standard errors of their own from the found one."""
    rates = np.linspace(0, 1, 1_000_001)
    within = rates[(hits / n - rates) ** 2 <= 1.959964**2 * rates * (1 - rates) / n + 1e-15]
    return [within.min(), within.max()]


def test_rates_that_every_resample_repeats_have_wilson_s_interval() -> None:
    """All cases are called positive: SEN 1 and SPE 0 on every resample, but not ACC, the share of positives."""
    cases = [replace(case, probability=0.9, tss_class=int(case.case > "c08")) for case in make_cases()]
    pooled = summarise(cases)["operating_points"]["0.5"]["pooled"]
    assert pooled["ACC"]["ci_method"] == "bootstrap"
    for rate, hits, n in (("SEN", 15, 15), ("SPE", 0, 9)):
        own = pooled[rate]
        assert (own["n"], own["ci_method"], own["ci_reason"]) == (n, "wilson", None)
        assert own["value"] == pytest.approx(hits / n)
        assert own["ci95"] == pytest.approx(wilson(hits, n), abs=2e-6)


def test_rates_that_vary_keep_the_bootstrap_by_patient() -> None:
    pooled = summarise(make_cases())["operating_points"]["0.5"]["pooled"]
    assert {pooled[rate]["ci_method"] for rate in ("ACC", "SEN", "SPE")} == {"bootstrap"}
    assert [pooled[rate]["n"] for rate in ("ACC", "SEN", "SPE")] == [24, 12, 12]


def test_a_single_patient_has_no_interval_at_all() -> None:
    pooled = summarise([replace(case, patient="p", probability=0.9) for case in make_cases()])["operating_points"]
    assert pooled["0.5"]["pooled"]["SEN"]["ci95"] is None
    assert pooled["0.5"]["pooled"]["SEN"]["ci_reason"] == "fewer than two patients"


def test_no_skill_is_what_the_frequency_of_positives_alone_would_reach() -> None:
    cases = [replace(case, tss_class=int(case.case > "c08")) for case in make_cases()]
    result = summarise(cases)
    constant = summarise([replace(case, probability=15 / 24) for case in cases])
    for own, reached in (
        (result["measures"], constant["measures"]),
        (result["calibration"]["measures"]["raw"], constant["calibration"]["measures"]["raw"]),
    ):
        for name in set(own["pooled"]) - {"cases", "reason", "ECE"}:
            assert own["pooled"][name]["no_skill"] == pytest.approx(reached["pooled"][name]["value"], abs=1e-12)
        assert "no_skill" not in own["pooled"]["ECE"]
    accuracy = result["operating_points"]["0.5"]["pooled"]["ACC"]
    assert accuracy["no_skill"] == 15 / 24
    assert result["measures"]["pooled"]["Brier"]["no_skill"] == pytest.approx(15 / 24 * 9 / 24)
