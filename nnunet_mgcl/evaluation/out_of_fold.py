"""What may be known when something is chosen for a fold's validation cases."""

from __future__ import annotations

from nnunet_mgcl.data.splits import Split
from nnunet_mgcl.evaluation.probability_metrics import Classes, Probabilities
from nnunet_mgcl.evaluation.tss_cases import TSSCases

NOTHING = "no out-of-fold predictions of its training cases: evaluate more folds"


def training_predictions(data: TSSCases, split: Split) -> tuple[Probabilities, Classes]:
    """The out-of-fold predictions of a fold's training cases: of each that of the model that validated on it.

    Args:
        data: The cases with a known TSS.
        split: The fold's cases. Those under `val` take no part, nor do other cases of their patients.
    """
    training, validation = set(split["train"]), set(split["val"])
    patients = {patient for case, patient in zip(data.names, data.patients, strict=True) if case in validation}
    chosen = [
        i
        for i, (case, patient) in enumerate(zip(data.names, data.patients, strict=True))
        if case in training and patient not in patients
    ]
    return data.probabilities[chosen], data.actual[chosen]
