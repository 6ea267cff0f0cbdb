"""The interval of a rate."""

from __future__ import annotations

from scipy.stats import binomtest

from nnunet_mgcl.evaluation.statistics.bootstrap import LEVEL


def wilson(hits: int, n: int) -> list[float]:
    """Wilson's interval of `hits` out of `n` independent cases (JASA 22, 209-212, 1927)."""
    low, high = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return [float(low), float(high)]
