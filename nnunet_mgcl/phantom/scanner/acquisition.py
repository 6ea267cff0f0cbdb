"""The scanner of the phantom: tissues and a stroke in, images out. Images and masks are `(Z, Y, X)`.

A lesion is no bright spot that is added to an image: it changes T2 and ADC of the tissue it lies in, and the
sequence's equation makes of that what it makes of it. Signals are computed on the thin layers and averaged over
the slice, which is what partial volume is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from nnunet_mgcl.phantom.brain.scan import Grid
from nnunet_mgcl.phantom.scanner import artefacts, physics
from nnunet_mgcl.phantom.scanner.artefacts import Signal
from nnunet_mgcl.phantom.scanner.physics import FloatArray, Tissue
from nnunet_mgcl.phantom.scanner.scene import Scene
from nnunet_mgcl.phantom.stroke.clock import injured

CHANNELS = {"DWI": ("DWI", "ADC"), "FLAIR": ("FLAIR",), "PWI": ("Tmax",)}
MODALITIES = tuple(CHANNELS)

# White-matter hyperintensities: FLAIR bright, and about as bright as their surroundings in DWI, because longer T2 and
# faster diffusion cancel; where they do not, T2 shines through. Chosen.
WMH_T2_RISE = 30.0
WMH_ADC_RATIO = (1.2, 1.5)
WMH_DENSITY = 1.05

# Signal of white matter over the noise's standard deviation (DWI: at b = 1000), and share of scans with motion. Chosen.
SNR = {"DWI": (18.0, 34.0), "FLAIR": (28.0, 50.0)}
MOTION_SHARE = 0.15
# Units of an image for a signal of 1, as clinical scans have them. Chosen.
GAIN = {"DWI": 2200.0, "FLAIR": 7000.0}
GAIN_SPREAD = 0.2
ADC_UNIT = 1e-6  # mm^2/s
# Blur in plane (standard deviations in mm), noise of Tmax in s, and the benign delay around a deficit. Chosen.
EPI_BLUR_MM, TMAX_BLUR_MM = 0.8, 2.0
TMAX_NOISE = 0.5
OLIGAEMIA_SECONDS, OLIGAEMIA_MM = 4.0, 9.0
ADC_CUT = 0.3  # of white matter's signal at b = 0


def draw_images(modality: str, scene: Scene, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Scans the scene.

    Args:
        modality: One of `MODALITIES`.
        scene: What lies in the scanner.
        rng: Draws coils, motion, noise and gain.

    Returns:
        The modality's channels: DWI and FLAIR as int16, ADC as int16 in 10^-6 mm^2/s, Tmax as float32 in s.
    """
    return {"DWI": _diffusion, "FLAIR": _flair, "PWI": _perfusion}[modality](scene, rng)


def _diffusion(scene: Scene, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Both b-values with the same coils and the same losses; the ADC map comes from their noisy magnitudes."""
    damaged = _hyperintense(rng)
    field = artefacts.coil_bias(scene.grid, rng) * artefacts.susceptibility_loss(scene.template_mm, rng)
    sigma = _sigma("DWI", physics.diffusion_signal(physics.WHITE, physics.DWI_B), rng)
    moves = rng.random() < MOTION_SHARE
    magnitudes = []
    for b in (0.0, physics.DWI_B):
        formula = partial(physics.diffusion_signal, b=b)
        signal = _signal(scene, formula, damaged, fat=physics.FAT_LEFT_BY_SUPPRESSION)
        image: Signal = field * _blurred(signal, EPI_BLUR_MM, scene.grid)
        if moves:
            image = artefacts.with_dropouts(image, rng) if b else image
            image = artefacts.with_phase_errors(image, artefacts.echo_ghost(scene.grid, rng))
        magnitudes.append(artefacts.rician(image, sigma, rng))
    s0, sb = magnitudes
    adc = physics.adc_from_signals(s0, sb, physics.DWI_B)
    # Scanners leave air, and what is as dark as air, out of the map.
    adc[s0 < ADC_CUT * physics.diffusion_signal(physics.WHITE, b=0.0)] = 0.0
    return {"DWI": _integers(_gain("DWI", rng) * sb), "ADC": _integers(adc / ADC_UNIT)}


def _flair(scene: Scene, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    signal = _signal(scene, physics.flair_signal, _hyperintense(rng), fat=1.0)
    image: Signal = artefacts.coil_bias(scene.grid, rng) * signal
    if rng.random() < MOTION_SHARE:
        image = artefacts.with_phase_errors(image, artefacts.interleaved_motion(scene.grid, rng))
    sigma = _sigma("FLAIR", physics.flair_signal(physics.WHITE), rng)
    return {"FLAIR": _integers(_gain("FLAIR", rng) * artefacts.rician(image, sigma, rng))}


def _hyperintense(rng: np.random.Generator) -> Tissue:
    white = injured(physics.WHITE, WMH_T2_RISE, rng.uniform(*WMH_ADC_RATIO))
    return Tissue(white.t1, white.t2, physics.WHITE.density * WMH_DENSITY, white.adc)


def _signal(scene: Scene, formula: Callable[[Tissue], FloatArray], damaged: Tissue, fat: float) -> FloatArray:
    """The signal of every voxel before the scanner's own flaws, `(Z, Y, X)`; the stroke's tissue is changed tissue."""
    layers = physics.FAT_OF_SCALP * fat, 1 - physics.FAT_OF_SCALP
    scalp = layers[0] * formula(physics.FAT) + layers[1] * formula(physics.MUSCLE)
    shares = {"fluid": physics.FLUID, "grey": physics.GREY, "white": physics.WHITE, "wmh": damaged}
    signal = scene.scalp * np.float32(scalp)
    for name, tissue in shares.items():
        signal += getattr(scene, name) * np.float32(formula(tissue))
    stroke = scene.stroke
    if stroke is not None:
        rise = stroke.clock.t2_rise * stroke.depth
        change = sum(
            share * (formula(injured(tissue, rise, stroke.clock.adc_ratio)) - formula(tissue))
            for share, tissue in ((stroke.grey, physics.GREY), (1 - stroke.grey, physics.WHITE))
        )
        signal += scene.per_voxel(stroke.core * change)
    return signal


def _perfusion(scene: Scene, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """A Tmax map as perfusion programs write it: coarse, noise where there is no tissue, 0 outside the head."""
    grid, stroke = scene.grid, scene.stroke
    tissue = np.maximum(scene.brain, 0.05)
    nothing = np.zeros(grid.shape, dtype=np.float32)
    deficit = nothing if stroke is None else np.minimum(stroke.deficit_share / tissue, 1.0)
    core = nothing if stroke is None else np.minimum(stroke.core_share / tissue, 1.0)
    oligaemia = OLIGAEMIA_SECONDS * _blurred(deficit, OLIGAEMIA_MM, grid)
    seconds = physics.tmax(scene.grey, scene.white + scene.wmh, deficit, core, oligaemia)
    noise = _blurred(rng.standard_normal(grid.shape, dtype=np.float32), TMAX_BLUR_MM, grid)
    seconds = _blurred(seconds, TMAX_BLUR_MM, grid) + TMAX_NOISE * noise / noise.std()
    # A fit to hardly any signal gives anything: in fluid, and where air has spoilt the images.
    left = scene.brain * artefacts.susceptibility_loss(scene.template_mm, rng)
    failed = rng.random(grid.shape) < np.clip(1.0 - left / 0.4, 0.0, 0.8)
    seconds = np.where(failed, rng.uniform(0.0, physics.TMAX_CORE, grid.shape), np.maximum(seconds, 0.0))
    return {"Tmax": np.where(scene.brain + scene.fluid > 0.5, seconds, 0.0).astype(np.float32)}


def _blurred(image: FloatArray, mm: float, grid: Grid) -> FloatArray:
    """The image with its slices blurred by a Gaussian of this standard deviation."""
    return gaussian_filter(image, [0.0, *(mm / step for step in grid.spacing[1:])])


def _sigma(modality: str, white: FloatArray, rng: np.random.Generator) -> float:
    return float(white) / rng.uniform(*SNR[modality])


def _gain(modality: str, rng: np.random.Generator) -> float:
    return GAIN[modality] * rng.lognormal(0.0, GAIN_SPREAD)


def _integers(image: FloatArray) -> npt.NDArray[np.int16]:
    return np.clip(np.rint(image), 0, np.iinfo(np.int16).max).astype(np.int16)
