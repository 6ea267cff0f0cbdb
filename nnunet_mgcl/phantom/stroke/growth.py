"""The stroke: a perfusion deficit in one vascular territory and the infarct core that grows in it.

One field in mm falls from the stroke's seat outwards. The deficit is what lies above its level 0, fixed at the onset;
the core is what lies above a higher level, which sinks with the hours until all of the deficit is dead: the core at
that time, the penumbra between them, and how long each piece of the core has been dead are all levels of the field.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, find_objects, map_coordinates
from scipy.special import expit

from nnunet_mgcl.phantom.brain.anatomy import Anatomy
from nnunet_mgcl.phantom.brain.template import STEP_MM, BoolArray, FloatArray, distance_mm, load_template, smooth_noise
from nnunet_mgcl.phantom.brain.territory import SHARES, TERRITORIES, margin
from nnunet_mgcl.phantom.stroke.lesion_masks import LesionMasks

# The paper includes cores of more than 1 ml. A patient's core is smaller than the template's: heads are, up to a
# fifth, sulci are wider, and of a border no voxel is outlined that has less than half of it.
LEAST_CORE_ML = 2.0
MOST_CORE_ML = 200.0
# Median and standard deviation of the logarithm of the deficit's volume in ml, chosen; the inclusion cuts them.
DEFICIT_ML = {"MCA": (60.0, 1.0), "PCA": (22.0, 0.7), "ACA": (22.0, 0.7), "lacunar": (4.5, 0.5)}
MOST_OF_TERRITORY = {"MCA": 0.85, "PCA": 0.85, "ACA": 0.85, "lacunar": 0.3}
LEAST_VOXELS = 2
# What a reader outlines: voxels of which the lesion has half.
HALF = 0.5
# Strokes below it would be cut off by the field of view.
_LOWEST_MM = -33.0
# Irregularity of the borders: of the territory in mm, of the field in parts of the deficit's radius.
_BORDER_NOISE_MM, _FIELD_NOISE = 3.0, 0.22
_NOISE_SCALE_MM = 7.0
_ML = STEP_MM**3 / 1000
_TERRITORIES_TRIED, _VOLUMES_TRIED = 200, 50
# Beyond it nothing is left of the deficit's soft border, so that the field can be cut off.
_RIM_MM = 6.0
_FAR = -1000.0

Box = tuple[slice, ...]
"""A part of the template's grid, `(z, y, x)`."""


@dataclass(frozen=True)
class StrokeMaps:
    """A stroke in one scan, on the anatomy's thin layers; float32.

    Attributes:
        core: Dead tissue's fraction of the voxel.
        deficit: Underperfused tissue's, core and penumbra.
        age: 1 where the core is oldest, 0 at its border and outside: the part of the core that died later.
    """

    core: FloatArray
    deficit: FloatArray
    age: FloatArray


@dataclass(frozen=True)
class Stroke:
    """One stroke in the template's frame.

    Attributes:
        field: `(Z, Y, X)` on a part of the template's grid, about mm inside the deficit's border.
        box: That part.
        core_levels: Levels of the field, falling from the core's centre to its border, that enclose equal steps of
            its volume.
        core_ml: The core's volume in the template; a patient's is smaller or larger with the head.
        deficit_ml: The deficit's volume.
    """

    field: FloatArray
    box: Box
    core_levels: FloatArray
    core_ml: float
    deficit_ml: float

    def sample(self, anatomy: Anatomy) -> StrokeMaps:
        """The stroke in a scan; only grey and white matter can have it."""
        corner = np.asarray([part.start for part in self.box], dtype=np.float32)
        indices = anatomy.brain_indices - corner[:, None]
        near = ((indices > -1) & (indices < np.asarray(self.field.shape)[:, None])).all(axis=0)
        voxels, indices = anatomy.brain_voxels[near], indices[:, near]
        field = map_coordinates(self.field, indices, order=1, mode="constant", cval=_FAR, output=np.float32)
        tissue = anatomy.brain.flat[voxels]
        core = tissue * expit(4 * (field - self.core_levels[-1]) / STEP_MM)
        steps = np.linspace(1.0, 0.0, len(self.core_levels))
        age = np.interp(field, self.core_levels[::-1], steps[::-1])
        deficit = tissue * expit(4 * field / STEP_MM)
        return StrokeMaps(*(anatomy.scatter(values, voxels) for values in (core, deficit, age)))

    def on_template(self) -> FloatArray:
        """The field on all of the template's grid."""
        field = np.full(load_template().grey.shape, _FAR, dtype=np.float32)
        field[self.box] = self.field
        return field


def draw_stroke(core_fraction: float, rng: np.random.Generator, masks: LesionMasks | None = None) -> Stroke:
    """Draws a stroke whose core is more than 1 ml at the time when it is `core_fraction` of the deficit.

    Args:
        core_fraction: Volume of the core by that of the deficit, in (0, 1].
        rng: Where the stroke comes from.
        masks: Real masks, one of which becomes the core; the deficit grows around it. Where the hemisphere has no
            room for a deficit of that size, it is smaller.

    Raises:
        UserError: A mask cannot be read, or none is large enough.
    """
    if masks is not None:
        return _around_mask(core_fraction, rng, masks)
    territory, deficit_ml = draw_size(core_fraction, rng)
    side = rng.choice([-1, 1])
    box = _hemisphere(side)
    brain = load_template().brain[box]
    inside = margin(territory)[box] + _BORDER_NOISE_MM * _noise(brain.shape, rng)
    possible = (brain > 0.1) & (inside > 0) & (margin("cerebrum")[box] > 0)
    distance = _distance_from_seat(possible, deficit_ml, rng)
    level = float(_levels(-distance[possible], brain[possible], deficit_ml))
    field = np.minimum(-distance - level, 2 * inside)
    field = np.where(possible, field, np.minimum(field, -STEP_MM))
    return _stroke(field.astype(np.float32), box, brain, core_fraction * deficit_ml)


def outline(fraction: FloatArray, least: int = LEAST_VOXELS) -> BoolArray:
    """The voxels of which a lesion has at least half; on a coarse grid at least the few that have most of it.

    Args:
        fraction: `(Z, Y, X)`, the lesion's part of each voxel of the slices.
        least: So many voxels are outlined, as far as the lesion touches so many.
    """
    mask = fraction >= HALF
    if mask.sum() < least:
        most = np.argsort(fraction, axis=None)[-least:]
        mask.flat[most[fraction.flat[most] > 0]] = True
    return mask


def draw_size(core_fraction: float, rng: np.random.Generator) -> tuple[str, float]:
    """Territory and deficit in ml of a stroke that meets the inclusion: drawn until one does."""
    shares = np.asarray(list(SHARES.values()))
    for territory in rng.choice(TERRITORIES, p=shares / shares.sum(), size=_TERRITORIES_TRIED):
        median, spread = DEFICIT_ML[territory]
        # Many volumes for one territory, so that small ones keep their share.
        deficits = rng.lognormal(np.log(median), spread, size=_VOLUMES_TRIED)
        cores = core_fraction * deficits
        fitting = deficits[(cores >= LEAST_CORE_ML) & (cores <= MOST_CORE_ML) & (deficits <= _room_ml(territory))]
        if len(fitting):
            return str(territory), float(fitting[0])
    raise ValueError(f"no stroke has a core of 1 ml that is {core_fraction} of its deficit")


@cache
def _room_ml(territory: str) -> float:
    """The largest deficit that fits a territory of one hemisphere."""
    tissue = ((margin(territory) > 0) & (margin("cerebrum") > 0)) * load_template().brain
    return MOST_OF_TERRITORY[territory] * float(tissue.sum()) / 2 * _ML


def _hemisphere(side: int) -> Box:
    """The part of the template's grid with the cerebrum's right (1) or left (-1) half."""
    height, depth, width = load_template().grey.shape
    lowest = int((_LOWEST_MM - load_template().origin[0]) / STEP_MM)
    x = slice(width // 2, width) if side > 0 else slice(0, width // 2)
    return slice(lowest, height), slice(0, depth), x


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    return smooth_noise(shape, _NOISE_SCALE_MM / STEP_MM / 1.5, rng)


def _distance_from_seat(possible: BoolArray, deficit_ml: float, rng: np.random.Generator) -> FloatArray:
    """Distance in mm from a seat in the territory, ragged and not equally fast in all directions."""
    seat = rng.choice(np.argwhere(possible))
    stretch = rng.uniform(0.75, 1.3, size=3)
    distance = distance_mm(possible.shape, seat, stretch, np.float32)
    radius = (3000 * deficit_ml / (4 * np.pi)) ** (1 / 3)
    return distance + _FIELD_NOISE * radius * _noise(possible.shape, rng)


def _levels(values: FloatArray, tissue: FloatArray, volumes_ml: npt.ArrayLike) -> FloatArray:
    """The levels above which values of a field enclose such volumes of their tissue."""
    order = np.argsort(-values)
    enclosed = np.cumsum(tissue[order]) * _ML
    index = np.searchsorted(enclosed, volumes_ml).clip(0, len(order) - 1)
    return values[order][index]


def _stroke(field: FloatArray, box: Box, brain: FloatArray, core_ml: float) -> Stroke:
    """A stroke whose core has so much of the deficit, the positive part of the field."""
    deficit = field > 0
    deficit_ml = float(brain[deficit].sum()) * _ML
    core_ml = min(core_ml, deficit_ml)
    levels = _levels(field[deficit], brain[deficit], np.linspace(0.0, core_ml, 17))
    if core_ml > 0.99 * deficit_ml:
        levels[-1] = 0.0
    inner = box_around(field > -_RIM_MM)
    placed = tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, inner, strict=True))
    return Stroke(field[inner].copy(), placed, levels.astype(np.float32), core_ml, deficit_ml)


def box_around(mask: BoolArray) -> Box:
    """The smallest box with all that is in the mask."""
    return find_objects(mask.astype(np.uint8))[0]


def _around_mask(core_fraction: float, rng: np.random.Generator, masks: LesionMasks) -> Stroke:
    """A stroke whose core is a real mask; the deficit grows around it by distance."""
    template = load_template()
    box = box_around(template.brain > 0.1)
    mask = masks.draw(rng, LEAST_CORE_ML, _LOWEST_MM)[box]
    inside = mask > HALF
    if not inside.any():
        inside = mask > 0
    distance = distance_transform_edt(inside) - distance_transform_edt(~inside)
    field = STEP_MM * (distance - np.sign(distance) / 2) + np.where(inside, 0, _noise(mask.shape, rng))
    tissue = template.brain[box]
    possible = (_reached(mask, box) & (tissue > 0.1)) | inside
    brain = np.where(inside, np.maximum(tissue, 0.1), tissue)
    core_ml = float((mask * tissue).sum()) * _ML
    room = 0.85 * float(brain[possible].sum()) * _ML
    level = min(float(_levels(field[possible], brain[possible], min(core_ml / core_fraction, room))), 0.0)
    field = np.where(possible, field - level, np.minimum(field - level, -STEP_MM))
    return _stroke(field.astype(np.float32), box, brain, core_ml)


def _reached(mask: FloatArray, box: Box) -> BoolArray:
    """The halves of the cerebrum, and what is below the tentorium, of which the mask has more than a trace."""
    x = np.broadcast_to(load_template().coordinates()[0][..., box[2]], mask.shape)
    above = margin("cerebrum")[box] > 0
    parts = [above & (x > 0), above & (x < 0), ~above]
    return np.any([part for part in parts if mask[part].sum() > 0.1 * mask.sum()], axis=0)
