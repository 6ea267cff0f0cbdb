"""What a scanner would show of a synthetic patient: DWI, FLAIR and PWI intensities.

The contrasts are ordered as in real scans (FLAIR suppresses fluid, DWI and PWI show a stroke bright); their
values are invented and nothing here simulates MR physics.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from nnunet_mgcl.phantom.anatomy import Anatomy, FloatArray, Grid
from nnunet_mgcl.phantom.lesion import Lesion

MODALITIES = ("DWI", "FLAIR", "PWI")
# Signal of (scalp, fluid, grey, white).
TISSUES = {
    "DWI": (0.20, 0.22, 0.62, 0.52),
    "FLAIR": (0.75, 0.10, 0.62, 0.50),
    "PWI": (0.08, 0.14, 0.36, 0.44),
}
# Side of the smallest structure in mm: perfusion maps are coarse.
BLUR_MM = {"DWI": 1.5, "FLAIR": 1.0, "PWI": 3.0}
NOISE = {"DWI": 0.030, "FLAIR": 0.025, "PWI": 0.045}
SCANNER_UNITS = 1000.0


def draw_image(
    modality: str, grid: Grid, anatomy: Anatomy, lesion: Lesion, rng: np.random.Generator
) -> npt.NDArray[np.int16]:
    """Draws one image `(Z, Y, X)` in scanner units."""
    signal = _tissue(modality, anatomy)
    signal = signal + 0.04 * anatomy.brain * grid.noise(rng, 5.0)
    if modality == "FLAIR":
        signal = signal + _old_scars(grid, anatomy, rng)
    signal = signal + anatomy.brain * _stroke(modality, lesion, rng)
    signal = gaussian_filter(signal, [BLUR_MM[modality] / step / 2 for step in grid.spacing])
    bias = np.exp(0.12 * grid.noise(rng, 50.0))
    gain = SCANNER_UNITS * rng.lognormal(0.0, 0.15)
    magnitude = gain * _rician(bias * signal, NOISE[modality], rng)
    return np.clip(np.rint(magnitude), 0, np.iinfo(np.int16).max).astype(np.int16)


def _tissue(modality: str, anatomy: Anatomy) -> FloatArray:
    scalp, fluid, grey, white = TISSUES[modality]
    return scalp * anatomy.scalp + fluid * anatomy.fluid + grey * anatomy.grey + white * anatomy.white


def _stroke(modality: str, lesion: Lesion, rng: np.random.Generator) -> FloatArray:
    """What the lesion adds to the brain's signal; only where that modality shows it."""
    core, perfusion = lesion.core.astype(np.float32), lesion.perfusion.astype(np.float32)
    if modality == "DWI":
        rise = 1 - np.exp(-lesion.hours / 1.5)  # diffusion falls within the first hours
        return core * (0.22 + 0.18 * rise) * rng.uniform(0.85, 1.15)
    if modality == "FLAIR":
        return core * lesion.flair_contrast
    return (0.22 * perfusion + 0.10 * core) * rng.uniform(0.8, 1.2)


def _old_scars(grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> FloatArray:
    """Small bright spots of white matter that have nothing to do with the stroke."""
    spots = np.clip(grid.noise(rng, 4.0) - 2.4, 0.0, 0.5)
    return 0.5 * spots * anatomy.white


def _rician(signal: FloatArray, sigma: float, rng: np.random.Generator) -> FloatArray:
    """The magnitude of a complex signal with Gaussian noise: never negative, also in air."""
    real = signal + sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.hypot(real, imaginary)
