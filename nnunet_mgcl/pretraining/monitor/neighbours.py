"""How well a sample's neighbours among the other patients tell whether it shows a lesion."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from sklearn.metrics.pairwise import cosine_distances

NEIGHBOURS = 5
SHUFFLES, SEED = 20, 12345
"""Of the copies that say what is reached by chance."""


@dataclass(frozen=True)
class NeighbourAccuracy:
    """How often the neighbours are right.

    Attributes:
        balanced: Mean of the two classes' shares judged right, where lesions are weighed up to be as many as the
            others: a sample is judged a lesion where lesions are more frequent among its neighbours than at large.
        plain: Share of samples judged right by the majority of their neighbours.
        balanced_by_chance: Mean and sd of `balanced` over copies whose representations are shuffled. It is not 0.5:
            shares of few neighbours are coarse, and at large lesions are rarer for a patient who has many.
        plain_by_chance: The same of `plain`.
    """

    balanced: float
    plain: float
    balanced_by_chance: tuple[float, float]
    plain_by_chance: tuple[float, float]


def neighbour_accuracy(representations: np.ndarray, lesion: np.ndarray, patients: np.ndarray) -> NeighbourAccuracy:
    """Judges each sample by its `NEIGHBOURS` nearest ones by angle, its own patient's left out.

    Slices and patches of one patient lie near each other whatever they show, so they may not vote.

    Args:
        representations: `(n, C)`.
        lesion: `(n,)` bool.
        patients: `(n,)`.
    """
    distances, random = cosine_distances(representations), np.random.default_rng(SEED)
    orders = [random.permutation(len(lesion)) for _ in range(SHUFFLES)]
    shuffled = np.array([_accuracies(distances, lesion[order], patients[order]) for order in orders])
    balanced, plain = ((float(own.mean()), float(own.std(ddof=1))) for own in shuffled.T)
    return NeighbourAccuracy(*_accuracies(distances, lesion, patients), balanced, plain)


def balanced_accuracy(representations: np.ndarray, lesion: np.ndarray, patients: np.ndarray) -> float:
    """`NeighbourAccuracy.balanced` alone; arguments as in `neighbour_accuracy`."""
    return _accuracies(cosine_distances(representations), lesion, patients)[0]


def _accuracies(distances: np.ndarray, lesion: np.ndarray, patients: np.ndarray) -> tuple[float, float]:
    """The balanced and the plain one."""
    others = patients[:, None] != patients
    nearest = np.argpartition(np.where(others, distances, np.inf), NEIGHBOURS - 1)[:, :NEIGHBOURS]
    frequency, at_large = lesion[nearest].mean(axis=1), others @ lesion.astype(float) / others.sum(axis=1)
    right = (frequency > at_large) == lesion
    return float(right[lesion].mean() + right[~lesion].mean()) / 2, float(((frequency > 0.5) == lesion).mean())


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
