"""Confidence intervals: by resampling patients, and of a rate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

RESAMPLES = 2000
SEED = 12345
LEVEL = 0.95

ALL_ALIKE = "every resample gives the same value"
NO_INTERVAL: dict[str, Any] = dict.fromkeys(("ci95", "ci_method", "ci_reason"))

Draw = npt.NDArray[np.int64]
"""Indices of the cases of one resample; how many there are may vary with the patients' cases."""


def draws(patients: Sequence[str]) -> list[Draw]:
    """Draws patients with replacement, all cases of a patient together: `RESAMPLES` times, the same every time.

    Classes are not kept in proportion: how many patients come early is as uncertain as what the model says of them.

    Args:
        patients: The patient of each case.

    Returns:
        The resamples; none where a single patient has all cases.
    """
    cases: dict[str, list[int]] = defaultdict(list)
    for index, patient in enumerate(patients):
        cases[patient].append(index)
    if len(cases) < 2:
        return []
    members = [np.array(own) for own in cases.values()]
    rng = np.random.default_rng(SEED)
    chosen = rng.integers(len(members), size=(RESAMPLES, len(members)))
    return [np.concatenate([members[patient] for patient in resample]) for resample in chosen]


def interval(samples: Sequence[float | None]) -> dict[str, Any]:
    """Percentile interval of a statistic.

    Args:
        samples: Its values on the resamples; those where it is undefined (None) do not count.

    Returns:
        `ci95`, its `ci_method` and the `ci_reason` where there is none: resamples that all agree tell nothing about
        other patients, so they give no interval of no width.
    """
    values = [value for value in samples if value is not None]
    if not values:
        return NO_INTERVAL | {"ci_reason": "fewer than two patients"}
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if high - low <= 1e-12 * max(abs(low), abs(high)):  # means of one value differ by rounding
        return NO_INTERVAL | {"ci_reason": ALL_ALIKE}
    return {"ci95": [float(low), float(high)], "ci_method": "bootstrap", "ci_reason": None}


def wilson(hits: int, n: int) -> list[float]:
    """Wilson's interval of `hits` out of `n` independent cases (JASA 22, 209-212, 1927)."""
    low, high = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return [float(low), float(high)]
