"""The head of a synthetic patient: the MNI152 template, deformed, aged and folded anew.

Two frames, both in mm. The scanner's: x to the patient's left, y to the back, z to the top (LPS, as DICOM and
SimpleITK), 0 in the middle of the field of view. The template's: x to the right, y to the front, z to the top (RAS,
as MNI). Arrays are `(Z, Y, X)`. A head is the map from the first frame to the second: it says for every point of a
scan where in the template its tissue comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.special import expit, logit

from nnunet_mgcl.phantom.brain.scan import Grid, Pose
from nnunet_mgcl.phantom.brain.template import STEP_MM, FloatArray, IntArray, load_template, smooth_noise

# The template's point in the middle of the field of view: the cerebrum is in it from the temporal lobes to the top.
CENTRE_MM = (0.0, -18.0, 20.0)

# Distances in mm from the surface around the brain, at which skull and scalp end, chosen to look like a head.
SKULL_MM, SCALP_MM = 7.5, 12.5
# Fluid between brain and skull in a young head.
SHELL_MM = 1.5
# What sharpens the average of 152 brains to one brain, and how far its folds differ from theirs.
SHARPNESS = 1.5
FOLD_NOISE = 0.9
FOLD_SCALE_MM = 3.5

# Smooth random deformation: its control points' distance, and the displacement's standard deviation there.
CONTROL_MM = 45.0
DEFORMATION_MM = 2.0
# The maps between the frames are computed on such a lattice and interpolated.
_LATTICE_MM = 8.0
# How far the ventricles' pressure reaches, and how far it moves their wall at widening 1: their volume about
# trebles. In one step the largest displacements would fold the space.
PRESSURE_MM = 8.0
WIDENING_MM = 8.0
_PRESSURE_STEPS = 3


@dataclass(frozen=True)
class Anatomy:
    """What is where in one scan, on its thin layers `(Z * substeps, Y, X)`; fractions in [0, 1], float32.

    Air and bone have none of the four tissues. Eyes, face, muscles and neck are missing.

    Attributes:
        scalp: Skin and fat.
        fluid: Cerebrospinal fluid, around the brain and in the ventricles.
        grey: Grey matter.
        white: White matter.
        template_mm: `(3, Z * substeps, Y, X)`: x, y, z of each sample in the template.
        grid: The scan's grid, of the slices and not of the layers.
    """

    scalp: FloatArray
    fluid: FloatArray
    grey: FloatArray
    white: FloatArray
    template_mm: FloatArray
    grid: Grid

    @cached_property
    def brain(self) -> FloatArray:
        """Grey and white matter together."""
        return self.grey + self.white

    @cached_property
    def brain_voxels(self) -> IntArray:
        """Flat indices of the N samples with brain: only they can have lesions."""
        return np.flatnonzero(self.brain > 0.01)

    @cached_property
    def brain_indices(self) -> FloatArray:
        """Where the brain's samples are in the template's maps, `(3, N)` in array order."""
        return load_template().indices(self.template_mm.reshape(3, -1)[:, self.brain_voxels])

    def scatter(self, values: FloatArray, voxels: IntArray) -> FloatArray:
        """A map `(Z * substeps, Y, X)`, float32, of values for some samples; 0 elsewhere."""
        volume = np.zeros(self.brain.shape, dtype=np.float32)
        volume.flat[voxels] = values
        return volume


@dataclass(frozen=True)
class Head:
    """One patient's head.

    Attributes:
        matrix: `(3, 3)`, from the straight head's frame (x right, y front, z top, 0 in the centre) to the template's.
        deformation: Displacements `(3, z, y, x)` in mm (x, y, z) at control points, smooth and random.
        widening: How far the ventricles are widened: 0 is the template's, 1 an old patient's.
        atrophy: The same for the sulci.
        brain_logit: Brain against fluid on the template's grid, folded as in this patient.
        white_logit: White against grey matter.
    """

    matrix: FloatArray
    deformation: FloatArray
    widening: float
    atrophy: float
    brain_logit: FloatArray
    white_logit: FloatArray

    def sample(self, grid: Grid, pose: Pose | None = None) -> Anatomy:
        """The head in a scan of this grid and pose (None: straight), on the thin layers of its slices."""
        thin = grid.thin()
        template_mm, hull = self._maps(thin, pose)
        # A border is as wide as a voxel in plane; in the third direction the layers are averaged later.
        edge = max(STEP_MM, grid.spacing[1])
        tissues = np.empty((4, *thin.shape), dtype=np.float32)
        for layer in range(thin.shape[0]):  # by layer: a matrix of 512 needs no more memory than it must
            tissues[:, layer] = self._tissues(template_mm[:, layer], hull[layer], edge)
        scalp, fluid, grey, white = tissues
        return Anatomy(scalp, fluid, grey, white, template_mm, grid)

    def _maps(self, grid: Grid, pose: Pose | None) -> tuple[FloatArray, FloatArray]:
        """What is smooth and may be interpolated: every voxel's place in the template and distance from the hull."""
        template = load_template()
        knots = [_knots(axis) for axis in grid.axes()]
        weights = [_hat_weights(axis, knot) for axis, knot in zip(grid.axes(), knots, strict=True)]
        z, y, x = np.meshgrid(*knots, indexing="ij")
        points = self.to_template(np.stack([x, y, z], axis=-1).reshape(-1, 3), pose).T.astype(np.float32)
        hull = lookup(template.hull, template.indices(points))
        return _interpolate(points.reshape(3, *z.shape), weights), _interpolate(hull.reshape(1, *z.shape), weights)[0]

    def to_template(self, mm: FloatArray, pose: Pose | None = None) -> FloatArray:
        """Where the scanner's points `(N, 3)` x, y, z are in the template, `(N, 3)`."""
        straight = mm if pose is None else pose.to_head(mm)
        # From LPS to RAS: x and y change their signs.
        points = (straight * [-1, -1, 1]) @ self.matrix.T + CENTRE_MM
        points = points + self._displacement(points)
        for _ in range(_PRESSURE_STEPS):
            points = points + self.widening / _PRESSURE_STEPS * _pressure(points)
        return points

    def _displacement(self, points: FloatArray) -> FloatArray:
        """The random deformation at points of the template's frame."""
        template = load_template()
        indices = (points[:, ::-1] - template.origin).T / CONTROL_MM
        return np.stack([map_coordinates(u, indices, order=3, mode="nearest") for u in self.deformation], axis=-1)

    def _tissues(self, mm: FloatArray, hull: FloatArray, edge: float) -> tuple[FloatArray, ...]:
        """Scalp, fluid, grey and white of the points `(3, ...)` of one layer; `edge`: a border's width."""
        template = load_template()
        scalp = _ramp(SCALP_MM - hull, edge) * _ramp(hull - SKULL_MM, edge)
        fluid, grey, white = (np.zeros(hull.shape, dtype=np.float32) for _ in range(3))
        near = hull < SKULL_MM
        indices = template.indices(mm[:, near])
        brain = expit(SHARPNESS * (lookup(self.brain_logit, indices) - np.float32(self.atrophy)))
        # Where there is brain there is no bone, and elsewhere no white matter: looking it up costs time.
        inside, share = np.ones_like(brain), np.zeros_like(brain)
        border, tissue = brain < 0.95, brain > 0.01
        depth = lookup(template.depth, indices[:, border])
        inside[border] = _ramp(SHELL_MM + self.atrophy - depth, edge)
        share[tissue] = expit(SHARPNESS * lookup(self.white_logit, indices[:, tissue]))
        brain = brain * inside
        white[near] = brain * share
        grey[near] = brain * (1 - share)
        fluid[near] = inside - brain
        return scalp, fluid, grey, white


def _ramp(mm_inside: FloatArray, width: float) -> FloatArray:
    """1 inside, 0 outside, and a straight line across the border."""
    return np.clip(mm_inside / width + 0.5, 0, 1).astype(np.float32)


def draw_head(rng: np.random.Generator) -> Head:
    """Draws one patient's head: size, side, shape, age and folds."""
    template = load_template()
    # MNI152's brain is larger than the average one.
    scales = 1 / (rng.normal(0.98, 0.02) * rng.normal(1.0, 0.015, size=3)).clip(0.91, 1.05)
    matrix = np.diag(scales) + np.triu(rng.normal(0.0, 0.02, size=(3, 3)), k=1)
    matrix[:, 0] *= rng.choice([-1, 1])
    extent = np.asarray(template.grey.shape) * STEP_MM
    controls = tuple(np.ceil(extent / CONTROL_MM).astype(int) + 1)
    deformation = rng.normal(0.0, DEFORMATION_MM, size=(3, *controls)).clip(-2 * DEFORMATION_MM, 2 * DEFORMATION_MM)
    age = rng.beta(2.0, 2.0)
    widening = float(np.clip(age + rng.normal(0.0, 0.15), 0.0, 1.2))
    atrophy = float(np.clip(age + rng.normal(0.0, 0.15), 0.0, 1.2))
    return Head(matrix, deformation.astype(np.float32), widening, atrophy, *_folds(rng))


def _folds(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """The logits of brain against fluid and of white against grey, with the patient's own folds."""
    brain, white = _average_logits()
    noise = FOLD_NOISE * smooth_noise(brain.shape, FOLD_SCALE_MM / STEP_MM / 1.5, rng)
    # Two fields from one: far apart they know nothing of each other.
    return brain + noise, white + np.roll(noise, [n // 3 for n in noise.shape], axis=(0, 1, 2))


@cache
def _average_logits() -> tuple[FloatArray, FloatArray]:
    """The template's maps as logits: interpolated, they give sharp borders at any matrix."""
    template = load_template()
    brain = template.brain
    white = template.white / np.maximum(brain, 1e-3)
    brain_logit = logit(np.clip(brain, 0.02, 0.98))
    # No fluid was measured outside the brain mask: what is there is filled by distance.
    brain_logit = np.where(template.depth > 0, np.minimum(brain_logit, -template.depth), brain_logit)
    return brain_logit.astype(np.float32), logit(np.clip(white, 0.02, 0.98)).astype(np.float32)


@cache
def _pressure_field() -> FloatArray:
    """The displacement `(3, Z, Y, X)` in mm at widening 1, which fetches the ventricles from further inside.

    It is the gradient of the smoothed ventricles: it points at them from all sides and fades with the distance.
    """
    smooth = gaussian_filter(load_template().ventricles, PRESSURE_MM / STEP_MM)
    field = np.stack(np.gradient(smooth)[::-1])
    return (WIDENING_MM * field / np.sqrt((field**2).sum(axis=0)).max()).astype(np.float32)


def _pressure(points: FloatArray) -> FloatArray:
    """The ventricles' displacement at points `(N, 3)` of the template's frame."""
    indices = load_template().indices(points.T.astype(np.float32))
    return np.stack([lookup(u, indices) for u in _pressure_field()], axis=-1)


def lookup(volume: FloatArray, indices: FloatArray) -> FloatArray:
    """Linear interpolation at indices `(3, ...)`; the nearest value outside."""
    return map_coordinates(volume, indices, order=1, mode="nearest", output=np.float32)


def _interpolate(lattice: FloatArray, weights: list[FloatArray]) -> FloatArray:
    """Values `(C, Z, Y, X)` from a lattice's, along one axis after the other: far cheaper than point by point."""
    z, y, x = weights
    rows = np.matmul(y, lattice @ x.T)
    values = z @ rows.reshape(*rows.shape[:2], -1)
    return values.reshape(*values.shape[:2], *rows.shape[2:])


def _knots(axis: FloatArray) -> FloatArray:
    """A lattice that covers an axis; its knots are the same for every scan, whatever its voxels."""
    low, high = np.floor(axis[0] / _LATTICE_MM), np.ceil(axis[-1] / _LATTICE_MM)
    return np.arange(low, max(high, low + 1) + 1) * _LATTICE_MM


def _hat_weights(axis: FloatArray, knots: FloatArray) -> FloatArray:
    """Weights `(len(axis), len(knots))` of linear interpolation."""
    distance = np.abs(axis[:, None] - knots[None, :]) / _LATTICE_MM
    return np.clip(1 - distance, 0, None).astype(np.float32)
