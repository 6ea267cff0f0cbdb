"""Confidence intervals by resampling patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
SEED = 12345
LEVEL = 0.95

ALL_ALIKE = "every resample gives the same value"
NO_INTERVAL: dict[str, Any] = dict.fromkeys(("ci95", "ci_method", "ci_reason"))

Draw = npt.NDArray[np.int64]
"""Indices of the cases of one resample; how many there are may vary with the patients' cases."""


def draws(patients: Sequence[str], strata: Sequence[Hashable] | None = None) -> list[Draw]:
    """Draws patients with replacement, all cases of a patient together: `RESAMPLES` times, the same every time.

    Args:
        patients: The patient of each case.
        strata: Class of each case. As many patients as there are with only positive, only negative and both kinds
            of cases are drawn from these, so that no resample lacks a class that the cases have.

    Returns:
        The resamples; none where a single patient has all cases.
    """
    if len(set(patients)) < 2:
        return []
    cases: dict[str, list[int]] = defaultdict(list)
    for index, patient in enumerate(patients):
        cases[patient].append(index)
    members: dict[Hashable, list[npt.NDArray[np.int64]]] = defaultdict(list)
    for own in cases.values():
        stratum = frozenset(strata[index] for index in own) if strata is not None else None
        members[stratum].append(np.array(own))
    rng = np.random.default_rng(SEED)
    resamples = []
    for _ in range(RESAMPLES):
        chosen = [group[i] for group in members.values() for i in rng.integers(len(group), size=len(group))]
        resamples.append(np.concatenate(chosen))
    return resamples


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Percentile interval of a statistic, from its values on the resamples.

    Returns:
        `ci95`, its `ci_method` and the `ci_reason` where there is none: resamples that all agree tell nothing about
        other patients, so they give no interval of no width.
    """
    if not len(values):
        return NO_INTERVAL | {"ci_reason": "fewer than two patients"}
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if high - low <= 1e-12 * max(abs(low), abs(high)):  # means of one value differ by rounding
        return NO_INTERVAL | {"ci_reason": ALL_ALIKE}
    return {"ci95": [float(low), float(high)], "ci_method": "bootstrap", "ci_reason": None}
