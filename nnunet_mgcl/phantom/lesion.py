"""The stroke of a synthetic patient: one lesion whose mismatches between the modalities tell its age.

A cartoon of the paper's section 1 and Fig. 1: early, the perfusion deficit is larger than the DWI core
(DWI-PWI mismatch) and FLAIR hardly shows it (DWI-FLAIR mismatch); with the hours both mismatches vanish.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from nnunet_mgcl.data.tss_table import TSS_WINDOW_HOURS
from nnunet_mgcl.phantom.anatomy import Anatomy, FloatArray, Grid

BoolArray = npt.NDArray[np.bool_]

EARLIEST_HOURS, LATEST_HOURS = 0.5, 12.0
# In the unit of FLAIR's brain signal: below it a reader would not outline the lesion.
VISIBLE_CONTRAST = 0.07
MIN_CORE_VOXELS = 8
_ATTEMPTS = 100


@dataclass(frozen=True)
class Lesion:
    """One stroke.

    Attributes:
        hours: Time since onset.
        core: The infarct `(Z, Y, X)`, what DWI shows.
        perfusion: The core and the penumbra, what PWI shows.
        flair_contrast: How much brighter than its surroundings FLAIR shows the core.
    """

    hours: float
    core: BoolArray
    perfusion: BoolArray
    flair_contrast: float

    def masks(self) -> dict[str, BoolArray]:
        """What a reader would outline in each modality; FLAIR's may be empty in a very young stroke."""
        visible = self.flair_contrast >= VISIBLE_CONTRAST
        return {"DWI": self.core, "FLAIR": self.core & visible, "PWI": self.perfusion}


def draw_hours(count: int, rng: np.random.Generator) -> list[float]:
    """Draws times since onset, half of them (rounded up) inside the treatment window, in random order."""
    early = rng.uniform(EARLIEST_HOURS, TSS_WINDOW_HOURS, size=(count + 1) // 2)
    late = rng.uniform(TSS_WINDOW_HOURS, LATEST_HOURS, size=count // 2)
    # Cut, not rounded: 4.499 must stay below the window's end.
    hours = np.floor(np.concatenate([early, late]) * 100) / 100
    return [float(h) for h in rng.permutation(np.maximum(hours, EARLIEST_HOURS))]


def draw_lesion(grid: Grid, anatomy: Anatomy, hours: float, rng: np.random.Generator) -> Lesion:
    """Draws a stroke of the given age in one hemisphere of the brain."""
    for _ in range(_ATTEMPTS):
        distance = _distance_from_seat(grid, anatomy, rng)
        core = distance < 1
        if core.sum() >= MIN_CORE_VOXELS:
            break
    else:
        raise RuntimeError(f"no lesion of {MIN_CORE_VOXELS} voxels fits a grid of shape {grid.shape}")
    # The scatter keeps any single sign from deciding the class.
    penumbra = max(0.0, 0.9 * np.exp(-hours / 4.0) + rng.normal(0.0, 0.08))
    midpoint = rng.normal(TSS_WINDOW_HOURS, 0.8)
    contrast = 0.05 + 0.55 * expit((hours - midpoint) / 0.9) + rng.normal(0.03, 0.015)
    return Lesion(hours, core, distance < 1 + penumbra, float(contrast))


def _distance_from_seat(grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> FloatArray:
    """Distance from the stroke's seat in units of the core's ragged radius; infinite off its hemisphere."""
    right = rng.random() < 0.5
    hemisphere = (anatomy.brain > 0.5) & ((anatomy.side > 2) if right else (anatomy.side < -2))
    seat = rng.choice(np.argwhere(hemisphere & (np.abs(anatomy.side) > 20)))
    radii = np.clip(rng.lognormal(np.log(16.0), 0.3), 9.0, 28.0) * rng.uniform(0.75, 1.25, size=3)
    indices = np.indices(grid.shape, dtype=np.float32)
    offsets = [
        (index - centre) * step / radius
        for index, centre, step, radius in zip(indices, seat, grid.spacing, radii, strict=True)
    ]
    distance = np.sqrt(sum(offset**2 for offset in offsets)) + 0.12 * grid.noise(rng, 7.0)
    return np.where(hemisphere, distance, np.inf).astype(np.float32)
