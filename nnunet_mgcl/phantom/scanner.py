"""The scanner of the phantom: tissues and a stroke in, images out. Images and masks are `(Z, Y, X)`.

A lesion is no bright spot that is added to an image: it changes T2 and ADC of the tissue it lies in, and the
sequence's equation makes of that what it makes of it. Signals are computed on the thin layers and averaged over
the slice, which is what partial volume is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from nnunet_mgcl.phantom import artefacts, physics
from nnunet_mgcl.phantom.anatomy import Anatomy, Grid
from nnunet_mgcl.phantom.artefacts import Signal
from nnunet_mgcl.phantom.clock import TissueClock, flair_ratio, injured
from nnunet_mgcl.phantom.distractors import DistractorMaps
from nnunet_mgcl.phantom.physics import FloatArray, Tissue
from nnunet_mgcl.phantom.stroke import StrokeMaps, outline
from nnunet_mgcl.phantom.template import BoolArray

CHANNELS = {"DWI": ("DWI", "ADC"), "FLAIR": ("FLAIR",), "PWI": ("Tmax",)}
MODALITIES = tuple(CHANNELS)

# White-matter hyperintensities: FLAIR bright, and about as bright as their surroundings in DWI, because longer T2 and
# faster diffusion cancel; where they do not, T2 shines through. Chosen.
WMH_T2_RISE = 35.0
WMH_ADC_RATIO = (1.25, 1.5)
WMH_DENSITY = 1.05

# Signal of white matter over the noise's standard deviation (DWI: at b = 1000), and share of scans with motion. Chosen.
SNR = {"DWI": (18.0, 34.0), "FLAIR": (28.0, 50.0)}
MOTION_SHARE = 0.15
# Units of an image for a signal of 1, as clinical scans have them. Chosen.
GAIN = {"DWI": 2200.0, "FLAIR": 7000.0}
GAIN_SPREAD = 0.2
ADC_UNIT = 1e-6  # mm^2/s
ADC_CUT = 0.3  # of white matter's signal at b = 0


@dataclass(frozen=True)
class Scene:
    """What lies in the scanner: how much of every voxel is which tissue, and the stroke.

    Attributes:
        grid: The scan's grid.
        scalp: Share of the voxel, like the other tissues.
        fluid: Cerebrospinal fluid and old cavities.
        grey: Grey matter.
        white: Normal white matter.
        wmh: Hyperintense tissue: gliosis of white matter and around old cavities.
        template_mm: x, y, z in the template, `(3, Z, Y, X)`.
        stroke: The stroke, None where there is none.
    """

    grid: Grid
    scalp: FloatArray
    fluid: FloatArray
    grey: FloatArray
    white: FloatArray
    wmh: FloatArray
    template_mm: FloatArray
    stroke: Ischaemia | None

    @property
    def brain(self) -> FloatArray:
        """Grey and white matter."""
        return self.grey + self.white + self.wmh

    def per_voxel(self, of_samples: FloatArray) -> FloatArray:
        """The mean of every voxel `(Z, Y, X)` of something that only the stroke's samples `(N,)` have."""
        assert self.stroke is not None
        sums = np.bincount(self.stroke.voxel, weights=of_samples, minlength=self.grey.size)
        return (sums / self.grid.substeps).reshape(self.grid.shape).astype(np.float32)


@dataclass(frozen=True)
class Ischaemia:
    """The stroke in a scan, on those samples of the thin layers that it reaches.

    Attributes:
        clock: What time has made of it.
        voxel: Flat index `(N,)` of the voxel that a sample belongs to.
        core: Share `(N,)` of the sample that is core.
        depth: How far T2 has risen there `(N,)`, 1 where the core is oldest.
        grey: Grey matter's share `(N,)` of the core; the rest is white.
        core_share: Core, as a share of every voxel.
        deficit_share: The same for the perfusion deficit.
    """

    clock: TissueClock
    voxel: npt.NDArray[np.intp]
    core: FloatArray
    depth: FloatArray
    grey: FloatArray
    core_share: FloatArray
    deficit_share: FloatArray


def set_scene(
    anatomy: Anatomy,
    distractors: DistractorMaps | None = None,
    stroke: StrokeMaps | None = None,
    clock: TissueClock | None = None,
) -> Scene:
    """Puts a head into the scanner, with its old damage and, where a clock is given, its stroke."""
    grid, brain = anatomy.grid, np.maximum(anatomy.brain, 1e-6)
    cavity, wmh = (np.zeros_like(brain),) * 2 if distractors is None else (distractors.chronic, distractors.wmh)
    left = 1 - np.minimum(cavity / brain, 1)
    healthy = np.maximum(left - wmh / brain, 0)
    grey, white = anatomy.grey * healthy, anatomy.white * healthy
    return Scene(
        grid=grid,
        scalp=grid.average(anatomy.scalp),
        fluid=grid.average(anatomy.fluid + brain * (1 - left)),
        grey=grid.average(grey),
        white=grid.average(white),
        wmh=grid.average(brain * left - grey - white),
        template_mm=anatomy.template_mm[:, grid.substeps // 2 :: grid.substeps],
        stroke=None if stroke is None or clock is None else _ischaemia(anatomy, left, stroke, clock),
    )


def _ischaemia(anatomy: Anatomy, left: FloatArray, stroke: StrokeMaps, clock: TissueClock) -> Ischaemia:
    """The stroke, in that part of the tissue that old cavities have left."""
    grid = anatomy.grid
    core = stroke.core * left
    samples = np.flatnonzero(core > 0.01)
    in_slice = grid.shape[1] * grid.shape[2]
    # Half of a core's volume died in about the first quarter of its time, since its growth slows down.
    depth = np.sqrt(stroke.age.ravel()[samples])
    return Ischaemia(
        clock=clock,
        voxel=samples // in_slice // grid.substeps * in_slice + samples % in_slice,
        core=core.ravel()[samples],
        depth=depth / max(float(depth.max(initial=0.0)), 1e-6),
        grey=anatomy.grey.ravel()[samples] / anatomy.brain.ravel()[samples],
        core_share=grid.average(core),
        deficit_share=grid.average(stroke.deficit * left),
    )


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
    sigma = _sigma("DWI", physics.diffusion_signal(physics.WHITE, physics.DIFFUSION.b), rng)
    moves = rng.random() < MOTION_SHARE
    magnitudes = []
    for b in (0.0, physics.DIFFUSION.b):
        formula = partial(physics.diffusion_signal, b=b)
        image: Signal = field * _signal(scene, formula, damaged, fat=physics.FAT_LEFT_BY_SUPPRESSION)
        if moves:
            image = artefacts.with_dropouts(image, rng) if b else image
            image = artefacts.with_phase_errors(image, artefacts.echo_ghost(scene.grid, rng))
        magnitudes.append(artefacts.rician(image, sigma, rng))
    s0, sb = magnitudes
    adc = physics.adc_from_signals(s0, sb, physics.DIFFUSION.b)
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
    smooth = [0.0, *(2.0 / step for step in scene.grid.spacing[1:])]
    grey, white = scene.grey, scene.white + scene.wmh
    nothing = np.zeros(scene.grid.shape, dtype=np.float32)
    deficit = nothing if scene.stroke is None else scene.stroke.deficit_share
    core = nothing if scene.stroke is None else scene.stroke.core_share
    tissue = np.maximum(grey + white, 0.05)
    wide = [0.0, *(9.0 / step for step in scene.grid.spacing[1:])]
    oligaemia = 4.0 * gaussian_filter(deficit, wide)
    seconds = physics.tmax(grey, white, np.minimum(deficit / tissue, 1.0), np.minimum(core / tissue, 1.0), oligaemia)
    coarse = gaussian_filter(rng.standard_normal(scene.grid.shape, dtype=np.float32), smooth)
    seconds = gaussian_filter(seconds, smooth) + 0.5 * coarse / coarse.std()
    # A fit to no signal gives anything: in fluid and where air has spoilt the images.
    left = artefacts.susceptibility_loss(scene.template_mm, rng) * scene.brain
    anything = rng.uniform(0.0, 12.0, scene.grid.shape).astype(np.float32)
    seconds = np.where(rng.random(scene.grid.shape) < np.clip(1.0 - left / 0.4, 0.0, 0.8), anything, seconds)
    inside = scene.brain + scene.fluid > 0.5
    return {"Tmax": np.where(inside, np.maximum(seconds, 0.0), 0.0).astype(np.float32)}


def _sigma(modality: str, white: FloatArray, rng: np.random.Generator) -> float:
    return float(white) / rng.uniform(*SNR[modality])


def _gain(modality: str, rng: np.random.Generator) -> float:
    return GAIN[modality] * rng.lognormal(0.0, GAIN_SPREAD)


def _integers(image: FloatArray) -> npt.NDArray[np.int16]:
    return np.clip(np.rint(image), 0, np.iinfo(np.int16).max).astype(np.int16)


def draw_masks(scene: Scene) -> dict[str, BoolArray]:
    """What readers outline: the core in DWI, its visible part in FLAIR, the deficit in PWI; empty without a stroke.

    FLAIR's mask is not empty if and only if the reader sees the lesion.
    """
    stroke = scene.stroke
    if stroke is None:
        return {modality: np.zeros(scene.grid.shape, dtype=bool) for modality in MODALITIES}
    core = outline(stroke.core_share)
    return {"DWI": core, "FLAIR": _visible_part(scene, stroke, core), "PWI": core | outline(stroke.deficit_share)}


def _visible_part(scene: Scene, stroke: Ischaemia, core: BoolArray) -> BoolArray:
    if not stroke.clock.flair_visible:
        return np.zeros_like(core)
    depth = np.where(core, scene.per_voxel(stroke.core * stroke.depth) / np.maximum(stroke.core_share, 1e-6), 0.0)
    # A thick slice need not reach the depth of the centre, which the reader sees: it is its deepest voxel then.
    depth /= max(float(depth.max()), 1e-6)
    return core & (flair_ratio(stroke.clock.t2_rise * depth) > stroke.clock.visible_ratio)
