from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from nnunet_mgcl.evaluation.statistics.paired_tests import holm, paired_tests


def values(seed: int, n: int = 12) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    first = rng.random(n)
    return first.tolist(), (first - 0.1 + 0.2 * rng.normal(size=n)).tolist()


def names(n: int) -> list[str]:
    return [str(i) for i in range(n)]


@pytest.mark.parametrize("seed", range(4))
def test_t_test_agrees_with_scipy_s_paired_one(seed) -> None:
    first, second = values(seed)
    result, expected = paired_tests(first, second, names(12)), stats.ttest_rel(first, second)
    assert result["t_test"]["statistic"] == pytest.approx(expected.statistic)
    assert result["t_test"]["p"] == pytest.approx(expected.pvalue)
    assert result["difference"] == pytest.approx(np.mean(first) - np.mean(second))


@pytest.mark.parametrize(("differing", "unchanged"), [(1, 6), (2, 1), (9, 0), (9, 6)])
def test_wilcoxon_is_as_exact_where_some_cases_do_not_differ(differing, unchanged) -> None:
    rng = np.random.default_rng(differing)
    second = rng.random(differing + unchanged)
    first = second + rng.permutation([0.0] * unchanged + list(rng.normal(0.1, 0.2, differing)))
    kept = (first - second)[first != second]
    ranks = stats.rankdata(np.abs(kept))
    observed = abs((np.sign(kept) * ranks).sum())
    sums = np.array([abs(np.dot(signs, ranks)) for signs in product((-1, 1), repeat=differing)])
    result = paired_tests(first.tolist(), second.tolist(), names(len(first)))
    assert (result["n"], result["differing"]) == (differing + unchanged, differing)
    assert result["wilcoxon"]["p"] == pytest.approx((sums >= observed - 1e-9).mean())


def test_wilcoxon_is_exact_up_to_50_cases_that_differ() -> None:
    """Against the distribution of the rank sum, by adding one rank after the other."""
    differences = 0.001 * np.arange(1, 34) * np.where(np.arange(33) % 5, 1, -1)
    ways = np.zeros(33 * 34 // 2 + 1)
    ways[0] = 1
    for rank in range(1, 34):
        ways[rank:] = ways[rank:] + ways[:-rank].copy()
    negative = int(np.arange(1, 34)[differences < 0].sum())
    first = [*differences.tolist(), *([0.0] * 30)]
    p = paired_tests(first, [0.0] * 63, names(63))["wilcoxon"]["p"]
    assert p == pytest.approx(2 * ways[: negative + 1].sum() / 2**33)


def test_undefined_pairs_are_left_out_and_counted() -> None:
    result = paired_tests([0.5, None, 0.9, 0.3], [0.4, 0.2, None, 0.1], names(4))
    assert (result["n"], result["left_out"]) == (2, 2)
    assert result["difference"] == pytest.approx(0.15)
    assert result["mean_first"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("first", "second", "t_reason", "wilcoxon_reason"),
    [
        ([0.5, 0.6, 0.7], [0.5, 0.6, 0.7], "no case differs", "no case differs"),
        ([0.5, 0.6, 0.7], [0.25, 0.35, 0.45], "the difference is the same in all cases", None),
        ([0.5], [0.4], "fewer than two pairs", "fewer than two pairs"),
        ([None], [0.4], "fewer than two pairs", "fewer than two pairs"),
    ],
)
def test_what_is_undefined_has_a_reason(first, second, t_reason, wilcoxon_reason) -> None:
    result = paired_tests(first, second, names(len(first)))
    for test, reason in (("t_test", t_reason), ("wilcoxon", wilcoxon_reason)):
        assert result[test]["reason"] == reason
        assert (result[test]["p"] is None) == (reason is not None)


def test_holm_as_by_hand() -> None:
    assert holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx([0.03, 0.06, None, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([None]) == [None]
