"""Labelled training cases that a phase leaves out, to see how it does on cases it was not trained on.

They are training cases of the fold, so that its validation cases stay out of every decision.
"""

from __future__ import annotations

import numpy as np

from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.datasets import labelled_dataset
from nnunet_mgcl.pretraining.monitor.lesion_counts import lesion_voxels

MOST_WATCHED = 20
"""Cases that are looked at."""
ONE_OF, FEWEST_PATIENTS = 5, 2
"""A fifth of the patients is left out, and for kNN no less than two: the neighbours of a sample are another's."""


def shuffled_cases(context: FoldContext, branch: Branch) -> list[str]:
    """The labelled training cases in a random order that is always the same, those with a lesion first."""
    cases = sorted(context.cases_of(branch))
    order = np.random.default_rng([context.config.random_seed, len(cases)]).permutation(len(cases))
    dataset = labelled_dataset(context, branch)
    return sorted((cases[i] for i in order), key=lambda case: lesion_voxels(dataset, case, branch) == 0)


def cases_left_out(
    context: FoldContext, branch: Branch, fewest: int, fewest_patients: int = FEWEST_PATIENTS
) -> list[str]:
    """The cases that a phase leaves out which trains on the labelled ones: of a fifth of the patients.

    Args:
        context: The phase's context.
        branch: The branch.
        fewest: Of fewer training cases none is left out; they are needed for training.
        fewest_patients: That are left out.
    """
    cases = shuffled_cases(context, branch)
    if len(cases) < fewest:
        return []
    patients = list(dict.fromkeys(patient_of(context, case) for case in cases))
    chosen = set(patients[: max(round(len(patients) / ONE_OF), min(fewest_patients, len(patients) - 1))])
    return [case for case in cases if patient_of(context, case) in chosen]


def patient_of(context: FoldContext, case: str) -> str:
    """Whose case it is."""
    return context.table.patient(case) if context.table else case
