"""What may be known when something is chosen for a fold's validation cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nnunet_mgcl.evaluation.probability_metrics import Classes, Probabilities

NOTHING = "no out-of-fold predictions of its training cases: evaluate more folds"


def training_predictions(
    training: Sequence[str],
    validation: Sequence[str],
    probabilities: Mapping[str, float],
    actual: Mapping[str, bool],
) -> tuple[Probabilities, Classes]:
    """The out-of-fold predictions of a fold's training cases with a known TSS.

    Args:
        training: The fold's training cases.
        validation: The fold's validation cases, which take no part.
        probabilities: The out-of-fold prediction of each case: of the model that validated on it.
        actual: Class of the cases with a known TSS.
    """
    chosen = sorted((set(training) - set(validation)) & probabilities.keys() & actual.keys())
    return (
        np.array([probabilities[case] for case in chosen], dtype=float),
        np.array([actual[case] for case in chosen], dtype=bool),
    )
