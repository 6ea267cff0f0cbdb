"""Points of a reliability diagram."""

from __future__ import annotations

from typing import Any

from nnunet_mgcl.evaluation.measures.probability import BINS, Classes, Probabilities, bin_of
from nnunet_mgcl.evaluation.statistics.wilson import wilson


def reliability(probabilities: Probabilities, actual: Classes) -> list[dict[str, Any]]:
    """What was predicted and what happened, in the bins of the expected calibration error.

    Args:
        probabilities: `(N,)` of the positive class.
        actual: `(N,)`, whether the cases are positive.

    Returns:
        For each bin `low` and `high`, `cases`, `mean_probability`, the `frequency` of positive cases and its Wilson
        interval `ci95`; None where it has no case.
    """
    bins = bin_of(probabilities)
    points = []
    for number in range(BINS):
        own = bins == number
        cases, positive = int(own.sum()), int(actual[own].sum())
        point: dict[str, Any] = {"low": number / BINS, "high": (number + 1) / BINS, "cases": cases}
        if not cases:
            points.append(point | dict.fromkeys(("mean_probability", "frequency", "ci95")))
            continue
        points.append(
            point
            | {
                "mean_probability": float(probabilities[own].mean()),
                "frequency": positive / cases,
                "ci95": wilson(positive, cases),
            }
        )
    return points
