"""The probability from which on a case is called positive, chosen without the cases that it is used on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_curve

from nnunet_mgcl.data.splits import Split
from nnunet_mgcl.evaluation.measures.classification import missing_class
from nnunet_mgcl.evaluation.measures.probability import Classes, Probabilities
from nnunet_mgcl.evaluation.tss_cases import NO_TRAINING_CASES, TSSCases

Rule = Callable[[Probabilities, Classes], float]
"""Takes probabilities and classes of some cases, both classes among them, and returns a threshold."""


def youden(probabilities: Probabilities, actual: Classes) -> float:
    """The predicted probability with the largest SEN + SPE; of several the highest."""
    false_positive, true_positive, thresholds = roc_curve(actual, probabilities, drop_intermediate=False)
    return float(thresholds[1:][np.argmax((true_positive - false_positive)[1:])])  # the first is infinity


def sensitivity_at_least(wanted: float) -> Rule:
    """The rule that takes the highest predicted probability that reaches a sensitivity."""

    def rule(probabilities: Probabilities, actual: Classes) -> float:
        positive = np.sort(probabilities[actual])[::-1]
        needed = max(int(np.ceil(wanted * len(positive) - 1e-9)), 1)
        return float(positive[needed - 1])

    return rule


def out_of_fold_threshold(rule: Rule, data: TSSCases, split: Split) -> tuple[float | None, str | None]:
    """The threshold for a fold's validation cases, by a rule applied to its training cases (`TSSCases.training`).

    Args:
        rule: Chooses it.
        data: The cases with a known TSS.
        split: The fold's cases.

    Returns:
        The threshold, or None and the reason.
    """
    p, y = data.training(split)
    if not len(y):
        return None, NO_TRAINING_CASES
    if reason := missing_class(y):
        return None, f"{reason} among the out-of-fold predictions of its training cases"
    return rule(p, y), None
