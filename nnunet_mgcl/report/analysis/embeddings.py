"""What a trained fold's networks make of slices, slabs and patches: the points of Fig. 8 and 9."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.pretraining.monitor.samples import Slices, centre_samples, represent, spread_slices
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold

MAX_SLICES, MAX_VOLUMES = 200, 20
"""What passes a network at most, in 2d and 3d: a CPU has to bear it."""
MAX_POINTS = 600
"""Samples a cloud: t-SNE takes the square of it in time."""
BEFORE, AFTER_SEGMENT = "before", "after segment"


@dataclass(frozen=True)
class Cloud:
    """Samples of one branch and phase.

    Attributes:
        representations: The same samples at each stage of training, `(n, C)`.
        lesion: Which of them show a lesion, `(n,)` bool.
        patients: The patient of each, `(n,)`.
        available: How many there were to choose from, and how many of these with lesion.
    """

    representations: dict[str, np.ndarray]
    lesion: np.ndarray
    patients: np.ndarray
    available: tuple[int, int]


def embed(fold: TrainedFold, branch: Branch, phase: Pretext) -> Cloud:
    """Takes the validation cases through the branch's networks before and after a phase, and at the end.

    What represents a sample, and which are left out: see `samples.represent`. Labels are those of the phase,
    from the true masks.

    Args:
        fold: The trained fold.
        branch: The branch.
        phase: One of `fold.pictured`.
    """
    networks = {
        BEFORE: fold.initial(branch, phase),
        f"after {phase.name}": fold.pretrained(branch, phase),
        AFTER_SEGMENT: fold.final(branch),
    }
    models = {stage: phase.probe(fold.config, branch, unet).to(fold.device).eval() for stage, unet in networks.items()}
    batches = centre_samples(fold.dataset(branch), sources(fold, branch), branch.configuration.patch_size)
    samples = represent(models, batches, fold.device, MAX_POINTS, fold.config.random_seed)
    patients = np.array([_patient(fold, case) for case in samples.cases])
    return Cloud(samples.representations, samples.lesion, patients, samples.available)


def sources(fold: TrainedFold, branch: Branch) -> Slices:
    """The validation cases that pass the networks, each with its slices; evenly spread where there are too many."""
    return spread_slices(fold.dataset(branch), fold.is_3d, MAX_VOLUMES if fold.is_3d else MAX_SLICES)


def _patient(fold: TrainedFold, case: str) -> str:
    table = fold.run.tss_table
    return table.patient(case) if table else case
