"""Against scikit-learn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from nnunet_mgcl.evaluation.measures.probability import BINS, probability_metrics


def random_case(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    actual = rng.random(37) < 0.4
    probabilities = 0.3 * actual + 0.7 * rng.random(37)
    return (np.round(probabilities, 1) if ties else probabilities), actual


CASES = {f"random {seed}, ties {ties}": random_case(seed, ties) for seed in range(4) for ties in (False, True)} | {
    "constant": (np.full(6, 0.3), np.array([1, 0, 0, 1, 0, 0], bool)),
    "perfect": (np.array([0.0, 1.0]), np.array([False, True])),
    "reversed": (np.array([1.0, 0.0]), np.array([False, True])),
}


@pytest.mark.parametrize(("probabilities", "actual"), CASES.values(), ids=CASES)
def test_measures_agree_with_scikit_learn(probabilities, actual) -> None:
    metrics = probability_metrics(probabilities, actual)
    assert metrics["AUROC"] == pytest.approx(roc_auc_score(actual, probabilities))
    assert metrics["AP"] == pytest.approx(average_precision_score(actual, probabilities))
    assert metrics["Brier"] == pytest.approx(brier_score_loss(actual, probabilities))
    clipped = np.clip(probabilities, 1e-6, 1 - 1e-6)
    assert metrics["log_loss"] == pytest.approx(sklearn_log_loss(actual, clipped, labels=[False, True]), abs=2e-6)
    frequency, mean = calibration_curve(actual, probabilities, n_bins=BINS)  # of the bins that hold a case
    edges = np.linspace(0, 1, BINS + 1)
    edges[0] = -1
    held = np.array([((low < probabilities) & (probabilities <= high)).sum() for low, high in pairwise(edges)])
    assert metrics["ECE"] == pytest.approx(np.average(np.abs(frequency - mean), weights=held[held > 0]), abs=1e-12)


def test_one_class_leaves_what_needs_no_other() -> None:
    metrics = probability_metrics(np.array([0.2, 0.6]), np.array([True, True]))
    assert metrics["AUROC"] is None and metrics["AP"] is None
    assert metrics["Brier"] == pytest.approx(0.4)
    assert metrics["ECE"] == pytest.approx(0.6)


def test_no_case_is_undefined() -> None:
    assert set(probability_metrics(np.array([]), np.array([], bool)).values()) == {None}
