"""Whether two models differ on the same cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from nnunet_mgcl.evaluation.statistics.intervals import draws, interval


def paired_tests(
    first: Sequence[float | None], second: Sequence[float | None], patients: Sequence[str]
) -> dict[str, Any]:
    """Compares one measure of two models case by case.

    Args:
        first: Its values, None where undefined.
        second: The other model's values of the same cases.
        patients: The patient of each case.

    Returns:
        `n` pairs, how many of them are `differing`, `left_out` (undefined in a model), the means, their `difference`
        (first minus second) with `ci95` (see `interval`), and `t_test` and `wilcoxon`, each with `statistic`, `p` and
        the `reason` where there is none.
    """
    kept = [i for i, pair in enumerate(zip(first, second, strict=True)) if None not in pair]
    a, b = (np.array([values[i] for i in kept], dtype=float) for values in (first, second))
    differences = a - b
    samples = [float(differences[draw].mean()) for draw in draws([patients[i] for i in kept])]
    return {
        "n": len(kept),
        "differing": int(np.count_nonzero(differences)),
        "left_out": len(first) - len(kept),
        "mean_first": float(a.mean()) if kept else None,
        "mean_second": float(b.mean()) if kept else None,
        "difference": float(differences.mean()) if kept else None,
        **interval(samples),
        "t_test": _test(differences, "t_test"),
        "wilcoxon": _test(differences, "wilcoxon"),
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment of p values; None stays None and does not count."""
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = highest
    return adjusted


def _test(differences: npt.NDArray[np.float64], name: Literal["t_test", "wilcoxon"]) -> dict[str, Any]:
    """A test of whether the differences are 0 on average, or why there is nothing to test."""
    reason = None
    if len(differences) < 2:
        reason = "fewer than two pairs"
    elif not differences.any():
        reason = "no case differs"
    elif name == "t_test" and np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        reason = "the difference is the same in all cases"
    if reason:
        return {"statistic": None, "p": None, "reason": reason}
    # Of differences, the paired t-test is that of one sample; given the zeros, SciPy's Wilcoxon would not be exact.
    differing = differences[differences != 0]
    result = stats.ttest_1samp(differences, 0) if name == "t_test" else stats.wilcoxon(differing)
    return {"statistic": float(result.statistic), "p": float(result.pvalue), "reason": None}
