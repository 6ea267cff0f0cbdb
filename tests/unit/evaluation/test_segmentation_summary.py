from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.measures.segmentation import MEASURES
from nnunet_mgcl.evaluation.segmentation_summary import summarise_segmentation


def case(name: str, fold: int, dice: float | None, volume=1.0, predicted=1.0) -> CaseScores:
    counts = {"lesions": int(volume > 0), "predicted_lesions": int(predicted > 0)}
    scores = dict.fromkeys(MEASURES, 0.0) | counts | {"dice": dice, "volume_ml": volume}
    return CaseScores(name, fold, name, {"lesion": scores}, None, None)


def test_folds_count_alike_however_many_cases_they_have() -> None:
    cases = [case("a", 0, 0.9), case("b", 0, 0.7), case("c", 0, 0.8), case("d", 1, 0.2), case("e", 2, 0.5)]
    dice = summarise_segmentation(cases, [0, 1, 2])["lesion"]["dice"]
    assert dice["cases"]["mean"] == pytest.approx(3.1 / 5)
    assert dice["folds"]["mean"] == pytest.approx((0.8 + 0.2 + 0.5) / 3)
    assert dice["folds"]["sd"] == pytest.approx(np.std([0.8, 0.2, 0.5], ddof=1))
    assert [dice["per_fold"][fold]["n"] for fold in "012"] == [3, 1, 1]
    assert dice["cases"]["ci95"][0] < 3.1 / 5 < dice["cases"]["ci95"][1]


def test_undefined_cases_and_folds_are_left_out_with_a_reason() -> None:
    cases = [case("a", 0, 0.6), case("b", 0, None, 0, 0), case("c", 1, None, 0, 0), case("d", 1, None, 0, 0)]
    lesion = summarise_segmentation(cases, [0, 1])["lesion"]
    assert lesion["dice"]["cases"] == {
        "n": 1, "mean": 0.6, "sd": None, "reason": "one case only: no standard deviation",
        "median": 0.6, "ci95": None, "ci_method": None, "ci_reason": "fewer than two patients",
    }  # fmt: skip
    assert lesion["dice"]["per_fold"]["1"] == {"n": 0, "mean": None, "sd": None, "reason": "defined in no case"}
    assert lesion["dice"]["folds"]["reason"] == "one fold only: no standard deviation"


def test_empty_masks_are_counted() -> None:
    cases = [case("a", 0, None, 0, 0), case("b", 0, 0, 0, 3), case("c", 0, 0, 2, 0), case("d", 0, 0, 2, 0)]
    lesion = summarise_segmentation(cases, [0])["lesion"]
    keys = ("empty_reference", "empty_prediction", "both_empty", "one_empty")
    assert [lesion[key] for key in keys] == [2, 3, 1, 3]


def test_the_median_is_not_drawn_by_a_few_worst_values() -> None:
    cases = [case(name, 0, dice) for name, dice in zip("abcde", (0.8, 0.7, None, 0.75, 0.0), strict=True)]
    assert summarise_segmentation(cases, [0])["lesion"]["dice"]["cases"]["median"] == pytest.approx(0.725)


def test_single_slices_have_no_volumes_for_a_reason_and_their_empty_masks_count() -> None:
    flat = {"volume_ml": None, "volume_difference_ml": None}
    cases = [case("a", 0, 0.5), case("b", 1, None, 0, 0)]
    cases = [replace(one, targets={"lesion": one.targets["lesion"] | flat}) for one in cases]
    lesion = summarise_segmentation(cases, [0, 1])["lesion"]
    volumes = lesion["volume_difference_ml"]
    averages = [volumes["cases"], volumes["folds"], *volumes["per_fold"].values()]
    assert [own["mean"] for own in averages] == [None] * 4
    assert {own["reason"] for own in averages} == {"single slices without a thickness"}
    assert lesion["both_empty"] == 1 and lesion["dice"]["per_fold"]["1"]["reason"] == "defined in no case"
