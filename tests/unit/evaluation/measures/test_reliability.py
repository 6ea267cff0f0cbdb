from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.evaluation.measures.probability import expected_calibration_error, reliability


def wilson(positive: int, cases: int) -> list[float]:
    """Wilson, 1927: all p with |frequency - p| <= z sqrt(p (1 - p) / n), by trying a million of them."""
    p = np.linspace(0, 1, 1_000_001)
    inside = p[np.abs(positive / cases - p) <= 1.959963984540054 * np.sqrt(p * (1 - p) / cases) + 1e-12]
    return [inside[0], inside[-1]]


@pytest.mark.parametrize("ties", [False, True])
def test_points_are_means_frequencies_and_wilson_intervals(ties) -> None:
    rng = np.random.default_rng(0)
    probabilities = np.round(rng.random(60), 1 if ties else 6)
    actual = rng.random(60) < probabilities
    points = reliability(probabilities, actual)
    assert [(point["low"], point["high"]) for point in points] == [
        (pytest.approx(i / 10), pytest.approx((i + 1) / 10)) for i in range(10)
    ]
    assert sum(point["cases"] for point in points) == 60
    for point in points:
        own = (probabilities > point["low"]) & (probabilities <= point["high"])
        own |= (probabilities == 0) & (point["low"] == 0)
        assert point["cases"] == own.sum()
        assert point["mean_probability"] == pytest.approx(probabilities[own].mean())
        assert point["frequency"] == pytest.approx(actual[own].mean())
        assert point["ci95"] == pytest.approx(wilson(actual[own].sum(), own.sum()), abs=2e-6)
    gaps = [point["cases"] / 60 * abs(point["mean_probability"] - point["frequency"]) for point in points]
    assert sum(gaps) == pytest.approx(expected_calibration_error(probabilities, actual))


def test_bins_without_a_case_have_no_numbers() -> None:
    points = reliability(np.array([0.0, 1.0]), np.array([False, True]))
    assert [point["cases"] for point in points] == [1, *[0] * 8, 1]
    assert [points[3][key] for key in ("mean_probability", "frequency", "ci95")] == [None] * 3
    assert points[0]["ci95"][0] == 0 and points[9]["ci95"][1] == 1
