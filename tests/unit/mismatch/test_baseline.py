from __future__ import annotations

import pytest
from sklearn.metrics import roc_auc_score

from nnunet_mgcl.mismatch.baseline import MASK_RULE, RATIO_RULE, baselines

RATIOS = {"a": 1.0, "b": 1.1, "c": 1.3, "d": 1.15, "e": 1.05, "f": 1.6}
EARLY = {"a": True, "b": True, "c": True, "d": False, "e": False, "f": False}


def row(case, ratio, lesion_ml="", lesions="1"):
    cells = {"flair_ratio": "", "flair_positive": ""}
    if ratio:
        cells = {"flair_ratio": f"{ratio:.4f}", "flair_positive": str(int(ratio >= 1.15))}
    return {"case": case, "lesions": lesions, "flair_lesion_ml": lesion_ml} | cells


def test_flair_negative_means_early() -> None:
    found = baselines([row(case, ratio) for case, ratio in RATIOS.items()], EARLY, 1.15)
    assert list(found) == [RATIO_RULE]
    metrics = found[RATIO_RULE]
    assert (metrics["TP"], metrics["FN"], metrics["TN"], metrics["FP"]) == (2, 1, 2, 1)  # 1.15 itself is positive
    expected = roc_auc_score([EARLY[case] for case in RATIOS], [-ratio for ratio in RATIOS.values()])
    assert metrics["AUROC"] == pytest.approx(expected)
    assert metrics["left_out"] == []


def test_readers_answer_comes_from_the_flair_masks() -> None:
    seen = {"a": "0.000", "b": "2.000", "d": "0.300", "f": "0.000"}
    rows = [row(case, RATIOS[case], ml) for case, ml in seen.items()]
    metrics = baselines(rows, EARLY, 1.15)[MASK_RULE]
    assert (metrics["TP"], metrics["FN"], metrics["TN"], metrics["FP"]) == (1, 1, 1, 1)


def test_cases_without_an_answer_are_left_out_by_name() -> None:
    rows = [row("a", 1.0), row("b", None), row("d", 1.3), row("e", None, "0.000", lesions="0"), row("unknown", 1.2)]
    found = baselines(rows, EARLY, 1.15)
    assert (found[RATIO_RULE]["cases"], found[RATIO_RULE]["left_out"]) == (2, ["b", "e"])
    assert MASK_RULE not in found  # no DWI lesion, no answer


def test_one_class_has_a_reason_and_no_case_no_baseline() -> None:
    metrics = baselines([row("a", 1.0), row("b", 1.2)], EARLY, 1.15)[RATIO_RULE]
    assert (metrics["SEN"], metrics["SPE"], metrics["AUROC"]) == (0.5, None, None)
    assert metrics["auroc_reason"] == "no negative cases"
    assert baselines([row("a", None)], EARLY, 1.15) == {}
    assert baselines([row("a", 1.0)], {}, 1.15) == {}
