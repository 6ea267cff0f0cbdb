from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from nnunet_mgcl.evaluation.statistics.delong import delong_test


def two_models(seed: int, cases: int = 60, decimals: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    actual = rng.permutation(np.arange(cases) < cases // 3)
    common = rng.normal(size=cases) + 1.0 * actual
    first, second = (common + rng.normal(size=cases) + shift * actual for shift in (0.8, 0.0))
    first, second = (np.round(1 / (1 + np.exp(-model)), decimals) for model in (first, second))
    return first, second, actual


def by_definition(first, second, actual) -> tuple[float, float]:
    """Difference and variance with DeLong's kernel over all pairs."""
    areas, of_positive, of_negative = [], [], []
    for p in (first, second):
        kernel = np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in p[~actual]] for x in p[actual]])
        areas.append(kernel.mean())
        of_positive.append(kernel.mean(axis=1))
        of_negative.append(kernel.mean(axis=0))
    s = np.cov(of_positive) / actual.sum() + np.cov(of_negative) / (~actual).sum()
    contrast = np.array([1, -1])
    return areas[0] - areas[1], contrast @ s @ contrast


@pytest.mark.parametrize("decimals", [6, 1], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(4))
def test_fast_version_is_delong_s_definition(seed, decimals) -> None:
    first, second, actual = two_models(seed, decimals=decimals)
    difference, variance = by_definition(first, second, actual)
    test = delong_test(first, second, actual)
    assert test["difference"] == pytest.approx(difference)
    assert test["difference"] == pytest.approx(roc_auc_score(actual, first) - roc_auc_score(actual, second))
    assert test["se"] == pytest.approx(np.sqrt(variance)) and test["z"] == pytest.approx(difference / test["se"])
    assert test["p"] == pytest.approx(2 * (1 - norm.cdf(abs(difference) / np.sqrt(variance))))


FIRST, _, ACTUAL = two_models(0)


@pytest.mark.parametrize(
    ("first", "second", "actual", "difference", "reason"),
    [
        (FIRST, FIRST**2, ACTUAL, 0, "the two models rank the cases alike: its error is 0"),
        (np.repeat([1.0, 0.0], 4), np.repeat([0.0, 1.0], 4), np.arange(8) < 4, 1, "every case has the same difference"),
    ],
)
def test_a_difference_without_an_error_has_no_p_value_but_a_reason(first, second, actual, difference, reason) -> None:
    test = delong_test(first, second, actual)
    assert test["difference"] == difference and test["p"] is None and test["reason"].startswith(reason)
