from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.evaluation.measures.classification import auroc
from nnunet_mgcl.report.cross_validation.hours_picture import hours_picture
from nnunet_mgcl.report.cross_validation.reliability_picture import reliability_picture
from nnunet_mgcl.report.cross_validation.roc_picture import roc_picture


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


class TestROC:
    def test_area_under_the_drawn_curve_is_the_auroc(self, cases, tss) -> None:
        drawn = lines(roc_picture(cases, tss))
        x, y = drawn["all cases, AUROC 0.500 (0.250 to 0.750)"].T
        probabilities, actual = (np.array([c[key] for c in cases]) for key in ("probability", "tss_class"))
        assert np.trapezoid(y, x) == pytest.approx(auroc(probabilities, actual == 1))

    def test_operating_points_are_marked_where_they_are_defined(self, cases, tss) -> None:
        drawn = lines(roc_picture(cases, tss))
        assert drawn["threshold 0.5: SEN 0.750, SPE 0.500"].tolist() == [[0.5, 0.75]]
        assert drawn["sensitivity 0.9 wanted: SEN 1.000, SPE 0.250"].tolist() == [[0.75, 1.0]]
        assert not any("Youden" in label for label in drawn)

    def test_a_fold_of_one_class_has_no_curve(self, cases, tss) -> None:
        for case in cases:
            case["tss_class"] = 1 if case["fold"] == 2 else case["tss_class"]
        picture = roc_picture(cases, tss)
        assert len(picture.figure.axes[0].get_lines()) == 1 + 2 + 1 + 2  # chance, folds, all cases, marks
        assert "most pairs are of two folds" in picture.caption
        assert "2 of them have both classes" in picture.caption

    def test_one_fold_is_drawn_once(self, cases, tss) -> None:
        picture = roc_picture([case for case in cases if case["fold"] == 0], tss)
        assert len(picture.figure.axes[0].get_lines()) == 1 + 1 + 2 and "single folds" not in picture.caption
        assert "two folds" not in picture.caption


def bin_of(low: float, cases: int, mean=None, frequency=None, ci95=None) -> dict:
    return {
        "low": low, "high": low + 0.1, "cases": cases, "mean_probability": mean, "frequency": frequency, "ci95": ci95,
    }  # fmt: skip


RAW = [bin_of(0.0, 0), bin_of(0.4, 8, 0.45, 0.25, [0.1, 0.6]), bin_of(0.9, 2, 0.95, 1.0, [0.3, 1.0])]


class TestReliability:
    def test_bins_without_cases_are_not_drawn(self) -> None:
        picture = reliability_picture({"raw": RAW, "calibrated": [bin_of(0.0, 0)]})
        drawn = lines(picture)
        assert set(drawn) == {"perfect", "raw"}
        assert drawn["raw"].shape == (2, 2)
        assert np.allclose(drawn["raw"], [[0.45, 0.25], [0.95, 1.0]], atol=0.01)

    def test_bars_below_count_the_cases(self) -> None:
        picture = reliability_picture({"raw": RAW, "calibrated": RAW[1:2]})
        assert [bar.get_height() for bar in picture.figure.axes[1].patches] == [8, 2, 8]
        assert "10 raw and 8 calibrated" in picture.caption
        assert "raw: 2 bins, at most 0.20 off the line." in picture.alt

    def test_a_single_probability_is_no_plural(self) -> None:
        one = [bin_of(0.4, 1, 0.45, 0.0, [0.0, 0.8])]
        assert reliability_picture({"raw": one, "calibrated": []}).caption.startswith(
            "1 raw probability in bins of 0.1"
        )
        assert "1 raw and 1 calibrated probabilities in" in reliability_picture({"raw": one, "calibrated": one}).caption


class TestHours:
    def test_classes_differ_in_colour_and_marker_and_unknown_hours_are_left_out(self, cases) -> None:
        hours = {case["case"]: (2.0 if case["tss_class"] else 30.0) for case in cases} | {"0": None}
        picture = hours_picture(cases, hours)
        early, late = picture.figure.axes[0].get_lines()[:2]
        assert (early.get_label(), late.get_label()) == ("TSS < 4.5 h (n = 11)", "TSS ≥ 4.5 h (n = 12)")
        assert early.get_marker() != late.get_marker() and early.get_color() != late.get_color()
        assert "23 cases whose hours are known" in picture.caption

    @pytest.mark.parametrize("longest", [0.0, 3.0, 168.0])
    def test_the_limit_and_all_cases_are_inside_the_axes(self, cases, longest) -> None:
        picture = hours_picture(cases, dict.fromkeys((case["case"] for case in cases), longest))
        picture.figure.draw_without_rendering()
        low, high = picture.figure.axes[0].get_xlim()
        assert low <= longest <= high and high > 4.5
        labels = [text.get_text() for text in picture.figure.axes[0].get_xticklabels()]
        assert "4.5" in labels
