"""Eq. 17-20 of the paper and the area under the ROC curve, re-derived with plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.evaluation.measures.classification import classification_metrics, dice, rates


@pytest.mark.parametrize("seed", range(5))
def test_dice_is_eq_17(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, reference = rng.random((3, 4, 5)) < 0.4, rng.integers(0, 4, (3, 4, 5))
    both = size_p = size_g = 0
    for p, g in zip(prediction.flat, reference.flat, strict=True):
        both += bool(p) and g != 0
        size_p += bool(p)
        size_g += g != 0
    assert dice(prediction, reference) == pytest.approx(2 * both / (size_p + size_g), rel=1e-15)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_classification_is_eq_18_to_20(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.random(23) < 0.3
    probabilities = np.round(0.3 * targets + 0.7 * rng.random(23), 1)  # ties, also with the threshold
    tp = tn = fp = fn = 0
    for p, y in zip(probabilities, targets, strict=True):
        tp += p >= threshold and y
        tn += p < threshold and not y
        fp += p >= threshold and not y
        fn += p < threshold and y
    assert min(tp, tn, fp + fn) > 0
    pairs = [(p, q) for p in probabilities[targets] for q in probabilities[~targets]]
    metrics = classification_metrics(probabilities, targets) | rates(probabilities >= threshold, targets)
    assert [metrics[name] for name in ("cases", "TP", "TN", "FP", "FN")] == [23, tp, tn, fp, fn]
    assert metrics["ACC"] == pytest.approx((tp + tn) / (tp + fn + fp + tn), rel=1e-15)
    assert metrics["SEN"] == pytest.approx(tp / (tp + fn), rel=1e-15)
    assert metrics["SPE"] == pytest.approx(tn / (tn + fp), rel=1e-15)
    concordant = sum((p > q) + 0.5 * (p == q) for p, q in pairs)
    assert metrics["AUROC"] == pytest.approx(concordant / len(pairs), rel=1e-12)
