"""What may be known when something is chosen for a fold's validation cases."""

from __future__ import annotations

import numpy as np

from nnunet_mgcl.data.splits import Split
from nnunet_mgcl.evaluation.measures.probability import Classes, Probabilities
from nnunet_mgcl.evaluation.tss_cases import TSSCases

NOTHING = "no out-of-fold predictions of its training cases: evaluate more folds"


def training_predictions(data: TSSCases, split: Split) -> tuple[Probabilities, Classes]:
    """The out-of-fold predictions of a fold's training cases: of each that of the model that validated on it.

    Args:
        data: The cases with a known TSS.
        split: The fold's cases. Those under `val` take no part, nor do other cases of their patients.
    """
    training, validation = (np.isin(data.names, split[part]) for part in ("train", "val"))
    patients = np.array(data.patients)
    chosen = training & ~np.isin(patients, patients[validation])
    return data.probabilities[chosen], data.actual[chosen]
