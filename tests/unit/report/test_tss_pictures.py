from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.evaluation.measures.probability import auroc
from nnunet_mgcl.report.cross_validation.tss_pictures import hours_picture, reliability_picture, roc_picture


def pooled(sensitivity, specificity) -> dict:
    return {"pooled": {"SEN": {"value": sensitivity}, "SPE": {"value": specificity}}}


@pytest.fixture
def cases() -> list[dict]:
    random = np.random.default_rng(0)
    keys = ("case", "fold", "tss_class", "probability")
    return [dict(zip(keys, (str(i), i % 3, (i + 1) % 2, float(random.random())), strict=True)) for i in range(24)]


@pytest.fixture
def tss(cases) -> dict:
    points = {"0.5": pooled(0.75, 0.5), "youden": pooled(None, None), "sensitivity_0.9": pooled(1.0, 0.25)}
    measures = {"pooled": {"AUROC": {"value": 0.5, "ci95": [0.25, 0.75]}}}
    return {"positive": 12, "operating_points": points, "measures": measures}


def lines(picture) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in picture.figure.axes[0].get_lines()}


def test_roc_curve_has_the_auroc_and_the_operating_points_that_are_defined(cases, tss) -> None:
    drawn = lines(roc_picture(cases, tss))
    x, y = drawn["all cases, AUROC 0.500 (0.250 to 0.750)"].T
    probabilities, actual = (np.array([c[key] for c in cases]) for key in ("probability", "tss_class"))
    assert np.trapezoid(y, x) == pytest.approx(auroc(probabilities, actual == 1))
    assert drawn["threshold 0.5: SEN 0.750, SPE 0.500"].tolist() == [[0.5, 0.75]]
    assert drawn["sensitivity 0.9 wanted: SEN 1.000, SPE 0.250"].tolist() == [[0.75, 1.0]]
    assert not any("Youden" in label for label in drawn)


def test_folds_of_one_class_have_no_roc_curve_and_one_fold_is_drawn_once(cases, tss) -> None:
    single = roc_picture([case for case in cases if case["fold"] == 0], tss)
    assert "single folds" not in single.caption and "two folds" not in single.caption
    for case in cases:
        case["tss_class"] = 1 if case["fold"] == 2 else case["tss_class"]
    assert "2 of them have both classes" in roc_picture(cases, tss).caption


def bin_of(low: float, cases: int, mean=None, frequency=None, ci95=None) -> dict:
    return {
        "low": low, "high": low + 0.1, "cases": cases, "mean_probability": mean, "frequency": frequency, "ci95": ci95,
    }  # fmt: skip


RAW = [bin_of(0.0, 0), bin_of(0.4, 8, 0.45, 0.25, [0.1, 0.6]), bin_of(0.9, 2, 0.95, 1.0, [0.3, 1.0])]


def test_bins_with_cases_are_drawn_and_counted() -> None:
    raw = lines(reliability_picture({"raw": RAW, "calibrated": [bin_of(0.0, 0)]}))
    assert set(raw) == {"perfect", "raw"}
    assert np.allclose(raw["raw"], [[0.45, 0.25], [0.95, 1.0]], atol=0.01)
    picture = reliability_picture({"raw": RAW, "calibrated": RAW[1:2]})
    assert [bar.get_height() for bar in picture.figure.axes[1].patches] == [8, 2, 8]
    assert "10 raw and 8 calibrated" in picture.caption
    assert "raw: 2 bins, at most 0.20 off the line." in picture.alt


@pytest.mark.parametrize("longest", [0.0, 3.0, 168.0])
def test_cases_with_known_hours_and_the_limit_are_drawn(cases, longest) -> None:
    hours = dict.fromkeys((case["case"] for case in cases), longest) | {"0": None}
    picture = hours_picture(cases, hours)
    assert sum(len(line.get_xdata()) for line in picture.figure.axes[0].get_lines()[:2]) == 23
    picture.figure.draw_without_rendering()
    low, high = picture.figure.axes[0].get_xlim()
    assert low <= longest <= high and high > 4.5
