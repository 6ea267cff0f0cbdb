"""How good predicted probabilities are, at no particular threshold, and their reliability diagram."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from nnunet_mgcl.evaluation.measures.classification import auroc, missing_class
from nnunet_mgcl.evaluation.statistics.intervals import wilson

Probabilities = npt.NDArray[np.float64]
Classes = npt.NDArray[np.bool_]

CALIBRATION_MEASURES = ("Brier", "ECE", "log_loss")
"""What calibration changes: it keeps the order of the cases, and with it AUROC and AP."""
MEASURES = ("AUROC", "AP", *CALIBRATION_MEASURES)
BINS = 10
"""Of the expected calibration error, of equal width."""
SMALLEST = 1e-6
"""Last decimal of the probabilities in tss.csv: what is closer to 0 or 1 is taken for it."""


def probability_metrics(probabilities: Probabilities, actual: Classes) -> dict[str, float | None]:
    """`MEASURES` of `(N,)` probabilities of the positive class; None where a class is missing, or all cases are."""
    both = missing_class(actual) is None
    return {
        "AUROC": auroc(probabilities, actual) if both else None,
        "AP": float(average_precision_score(actual, probabilities)) if both else None,
        **calibration_metrics(probabilities, actual),
    }


def calibration_metrics(probabilities: Probabilities, actual: Classes) -> dict[str, float | None]:
    """`CALIBRATION_MEASURES` of `(N,)` probabilities of the positive class; None without a case."""
    if not len(actual):
        return dict.fromkeys(CALIBRATION_MEASURES)
    of_truth = np.where(actual, probabilities, 1 - probabilities)
    return {
        "Brier": float(np.mean((probabilities - actual) ** 2)),
        "ECE": expected_calibration_error(probabilities, actual),
        "log_loss": float(-np.mean(np.log(np.clip(of_truth, SMALLEST, 1)))),
    }


def no_skill(actual: Classes) -> dict[str, float]:
    """What a model that sees nothing of a case reaches: it predicts the frequency of positives, or the larger class.

    Empty without both classes. The calibration error has none: to predict the frequency is perfectly calibrated.
    """
    if missing_class(actual):
        return {}
    p = float(actual.mean())
    entropy = float(-(p * np.log(p) + (1 - p) * np.log(1 - p)))
    return {"AUROC": 0.5, "AP": p, "Brier": p * (1 - p), "log_loss": entropy, "ACC": max(p, 1 - p)}


def expected_calibration_error(probabilities: Probabilities, actual: Classes) -> float:
    """Mean distance between probability and frequency in `BINS` bins, weighted by their cases."""
    excess = np.bincount(_bin_of(probabilities), weights=probabilities - actual, minlength=BINS)
    return float(np.abs(excess).sum() / len(actual))


def reliability(probabilities: Probabilities, actual: Classes) -> list[dict[str, Any]]:
    """What was predicted and what happened, in the bins of the expected calibration error.

    Args:
        probabilities: `(N,)` of the positive class.
        actual: `(N,)`, whether the cases are positive.

    Returns:
        For each bin `low` and `high`, `cases`, `mean_probability`, the `frequency` of positive cases and its Wilson
        interval `ci95`; None where it has no case.
    """
    bins, points = _bin_of(probabilities), []
    for number in range(BINS):
        inside = bins == number
        cases, positive = int(inside.sum()), int(actual[inside].sum())
        points.append(
            {
                "low": number / BINS,
                "high": (number + 1) / BINS,
                "cases": cases,
                "mean_probability": float(probabilities[inside].mean()) if cases else None,
                "frequency": positive / cases if cases else None,
                "ci95": wilson(positive, cases) if cases else None,
            }
        )
    return points


def _bin_of(probabilities: Probabilities) -> npt.NDArray[np.int64]:
    """Number of the bin of each probability; an edge belongs to the bin below it."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], probabilities)
