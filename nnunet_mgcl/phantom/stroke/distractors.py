"""What looks like a stroke and is none: white-matter hyperintensities and chronic infarcts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.special import expit

from nnunet_mgcl.phantom.brain.anatomy import Anatomy, lookup
from nnunet_mgcl.phantom.brain.template import STEP_MM, FloatArray, IntArray, distance_mm, load_template, smooth_noise
from nnunet_mgcl.phantom.brain.territory import margin
from nnunet_mgcl.phantom.stroke.growth import Stroke, box_around

# Thickness in mm of the bright band around the ventricles, at load 0 and what load 1 adds; more at the horns' caps.
BAND_MM, BAND_BY_LOAD_MM, CAP_BY_LOAD_MM = 0.5, 6.0, 3.0
# Expected number of deep spots at load 0, and what load 1 adds.
SPOTS, SPOTS_BY_LOAD = 3.0, 60.0
# Expected number of chronic infarcts at load 0 and what load 1 adds; how many of them are lacunes, the others cortical.
CHRONIC, CHRONIC_BY_LOAD, LACUNES = 0.2, 1.0, 0.6
# The gliotic rim of a chronic infarct's cavity.
RIM_MM = 2.0
_CLEARANCE_MM = 8.0
_ATTEMPTS = 20
_FAR = -1000.0


@dataclass(frozen=True)
class DistractorMaps:
    """Old lesions in one scan, as fractions on the anatomy's thin layers; float32.

    Attributes:
        wmh: Gliotic tissue, bright in FLAIR and not restricted: white-matter hyperintensities and the chronic
            infarcts' rims.
        chronic: The chronic infarcts' cavities, fluid in the place of tissue.
    """

    wmh: FloatArray
    chronic: FloatArray


@dataclass(frozen=True)
class Distractors:
    """One patient's old lesions in the template's frame.

    Attributes:
        wmh_mm: `(Z, Y, X)` on the template's grid, about mm inside the hyperintensities' borders.
        chronic_mm: The same for the cavities.
        chronic_count: How many chronic infarcts there are.
    """

    wmh_mm: FloatArray
    chronic_mm: FloatArray
    chronic_count: int

    def sample(self, anatomy: Anatomy) -> DistractorMaps:
        """The lesions in a scan."""
        voxels, indices = anatomy.brain_voxels, anatomy.brain_indices
        brain, white = anatomy.brain.flat[voxels], anatomy.white.flat[voxels]
        wmh = white * _fraction(lookup(self.wmh_mm, indices))
        chronic = np.zeros_like(wmh)
        if self.chronic_count:
            field = lookup(self.chronic_mm, indices)
            cavity = _fraction(field)
            chronic = brain * cavity
            wmh = np.maximum(wmh * (1 - cavity), brain * (_fraction(field + RIM_MM) - cavity))
        return DistractorMaps(anatomy.scatter(wmh, voxels), anatomy.scatter(chronic, voxels))


def draw_distractors(widening: float, rng: np.random.Generator, stroke: Stroke | None = None) -> Distractors:
    """Draws old lesions, the more the wider the patient's ventricles are.

    Args:
        widening: The head's, about 0 to 1.
        rng: Where the lesions come from.
        stroke: The acute stroke: no hyperintensity lies in its core, no chronic infarct near its deficit.
    """
    load = float(np.clip(0.1 + 0.5 * widening + rng.normal(0.0, 0.2), 0.0, 1.0))
    wmh = np.maximum(_band(load, rng), _spots(load, rng))
    clearance = np.full([-(-n // 2) for n in wmh.shape], np.inf)
    if stroke is not None:
        field = stroke.on_template()
        wmh = np.minimum(wmh, stroke.core_levels[-1] - field - 1.0)
        # Every other voxel does, and is far cheaper.
        clearance = distance_transform_edt(field[::2, ::2, ::2] <= 0, sampling=2 * STEP_MM)
    chronic, count = _chronic(load, clearance, rng)
    return Distractors(wmh.astype(np.float32), chronic, count)


def _fraction(mm_inside: FloatArray) -> FloatArray:
    return expit(4 * mm_inside / np.float32(STEP_MM))


@cache
def _ventricle_distance() -> FloatArray:
    """Distance in mm from the lateral ventricles; the third one, below and in the middle, has no band."""
    template = load_template()
    x, _, z = template.coordinates()
    lateral = (template.ventricles > 0.5) & ((np.abs(x) > 5) | (z > 14))
    return distance_transform_edt(~lateral, sampling=STEP_MM).astype(np.float32)


def _band(load: float, rng: np.random.Generator) -> FloatArray:
    """The band beside the ventricles, wider around their horns, ragged."""
    distance = _ventricle_distance()
    near = box_around(distance < 20)
    y = load_template().coordinates()[1][:, near[1]]
    caps = np.where((y > 18) | (y < -38), np.float32(CAP_BY_LOAD_MM * load), np.float32(0))
    width = BAND_MM + BAND_BY_LOAD_MM * load**1.5 + caps
    band = -distance
    band[near] += width + (0.5 + 2.0 * load) * smooth_noise(band[near].shape, 2.5, rng)
    return band


def _spots(load: float, rng: np.random.Generator) -> FloatArray:
    """Spots in the deep white matter."""
    field = np.full(load_template().white.shape, _FAR, dtype=np.float32)
    places = _spot_places()
    for place in places[rng.integers(len(places), size=rng.poisson(SPOTS + SPOTS_BY_LOAD * load**2))]:
        radius = np.clip(rng.lognormal(np.log(2.1), 0.4), 1.2, 5.0)
        _add_ball(field, place, radius, rng)
    return field


def _chronic(load: float, clearance: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, int]:
    """Cavities of old infarcts, lacunes and cortical ones, and how many there are.

    Args:
        load: How many to expect.
        clearance: Distance in mm from the acute deficit, of every other voxel along each axis.
        rng: Where they come from.
    """
    field, count = np.full(load_template().white.shape, _FAR, dtype=np.float32), 0
    for _ in range(rng.poisson(CHRONIC + CHRONIC_BY_LOAD * load)):
        lacune = rng.random() < LACUNES
        radius = rng.uniform(2.0, 5.0) if lacune else rng.uniform(6.0, 11.0)
        places = _lacune_places() if lacune else _cortex_places()
        for place in places[rng.integers(len(places), size=_ATTEMPTS)]:
            if clearance[tuple(place // 2)] > 1.5 * radius + RIM_MM + _CLEARANCE_MM:
                _add_ball(field, place, radius, rng)
                count += 1
                break
    return field, count


@cache
def _spot_places() -> IntArray:
    template, distance = load_template(), _ventricle_distance()
    return np.argwhere((template.white > 0.85) & (distance > 6) & (distance < 32) & (template.coordinates()[2] > 0))


@cache
def _lacune_places() -> IntArray:
    return np.argwhere((margin("lacunar") > 0) & (load_template().brain > 0.9))


@cache
def _cortex_places() -> IntArray:
    template = load_template()
    cortex = (template.grey > 0.6) & (template.depth > -12)
    return np.argwhere(cortex & (np.maximum.reduce([margin(t) for t in ("MCA", "PCA", "ACA")]) > 2))


def _add_ball(field: FloatArray, place: IntArray, radius: float, rng: np.random.Generator) -> None:
    """Raises the field to mm inside a ragged ellipsoid around a voxel, in place."""
    reach = int((2 * radius + RIM_MM) / STEP_MM) + 2
    low = np.maximum(place - reach, 0)
    box = tuple(slice(a, b) for a, b in zip(low, place + reach + 1, strict=True))
    part = field[box]
    stretch = rng.uniform(0.7, 1.4, size=3)
    # Off the lattice, so that not all small spots look the same.
    centre = place - low + rng.uniform(-0.5, 0.5, size=3)
    ragged = 0.25 * radius * smooth_noise(part.shape, 2.0, rng)
    np.maximum(part, radius - distance_mm(part.shape, centre, stretch) + ragged, out=part)
