"""How well a sample's neighbours among the other patients tell whether it shows a lesion."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

NEIGHBOURS = 5


@dataclass(frozen=True)
class NeighbourAccuracy:
    """How often the neighbours are right.

    Attributes:
        balanced: Mean of the two classes' shares judged right, where lesions are weighed up to be as many as the
            others: a sample is judged a lesion where lesions are more frequent among its neighbours than at large.
            0.5 by chance.
        plain: Share of samples judged right by the majority of their neighbours.
    """

    balanced: float
    plain: float


def neighbour_accuracy(representations: np.ndarray, lesion: np.ndarray, patients: np.ndarray) -> NeighbourAccuracy:
    """Judges each sample by its `NEIGHBOURS` nearest ones by angle, its own patient's left out.

    Slices and patches of one patient lie near each other whatever they show, so they may not vote.

    Args:
        representations: `(n, C)`.
        lesion: `(n,)` bool.
        patients: `(n,)`.
    """
    frequency = cross_val_predict(
        KNeighborsRegressor(NEIGHBOURS, metric="cosine"), representations, lesion.astype(float), groups=patients,
        cv=LeaveOneGroupOut(),
    )  # fmt: skip
    at_large = np.array([lesion[patients != patient].mean() for patient in patients])
    return NeighbourAccuracy(
        balanced_accuracy_score(lesion, frequency > at_large), accuracy_score(lesion, frequency > 0.5)
    )


def why_undefined(lesion: np.ndarray, patients: np.ndarray) -> str | None:
    """Why these samples have no neighbour accuracy, in words; None where they have."""
    if not len(lesion):
        return "there is no annotated sample"
    if lesion.all() or not lesion.any():
        return f"{'every' if lesion.all() else 'no'} sample shows a lesion"
    of_patient = Counter(patients.tolist())
    if len(of_patient) == 1:
        return "the samples are of a single patient"
    if len(lesion) - max(of_patient.values()) < NEIGHBOURS:
        return f"beside one patient's samples there are fewer than {NEIGHBOURS} of others"
    return None
