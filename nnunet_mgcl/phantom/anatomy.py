"""The head of a synthetic patient: where its tissues are. Ellipses and smoothed noise, nobody's anatomy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

FloatArray = npt.NDArray[np.floating[Any]]

# Semi-axes in mm of the ellipsoid (z, y, x) whose upper part is in the field of view: its equator lies
# EQUATOR of the way from the lowest slice to the highest one.
SKULL_MM = (62.0, 88.0, 72.0)
EQUATOR = 0.35
# Fractions of the skull's semi-axes where the layers end.
INNER_TABLE, BRAIN_SURFACE = 0.92, 0.88
FIELD_OF_VIEW_MM = 192.0
HEIGHT_MM = 72.0


@dataclass(frozen=True)
class Grid:
    """A voxel grid.

    Attributes:
        shape: `(Z, Y, X)` in voxels.
        spacing: `(z, y, x)` in mm.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @classmethod
    def fitting_the_head(cls, size: tuple[int, int, int]) -> Grid:
        """The grid of `size` (X, Y, Z) voxels that holds the head: 3 x 3 x 6 mm at 64 x 64 x 12."""
        x, y, z = size
        in_plane = FIELD_OF_VIEW_MM / min(x, y)
        return cls((z, y, x), (HEIGHT_MM / z, in_plane, in_plane))

    def coordinates_mm(self) -> list[FloatArray]:
        """Three arrays (Z, Y, X): z above the head's equator, y and x from the centre of the slice."""
        origins = (EQUATOR, 0.5, 0.5)
        axes = [
            (np.arange(n, dtype=np.float32) - origin * (n - 1)) * step
            for n, step, origin in zip(self.shape, self.spacing, origins, strict=True)
        ]
        return list(np.meshgrid(*axes, indexing="ij"))

    def noise(self, rng: np.random.Generator, scale_mm: float) -> FloatArray:
        """Noise `(Z, Y, X)` of mean 0 and standard deviation 1, with structures of `scale_mm`."""
        white = rng.standard_normal(self.shape, dtype=np.float32)
        smooth = gaussian_filter(white, [scale_mm / step for step in self.spacing], mode="wrap")
        return (smooth - smooth.mean()) / (smooth.std() + 1e-6)


@dataclass(frozen=True)
class Anatomy:
    """Tissues of one head as fractions of a voxel, each `(Z, Y, X)` in [0, 1]; background has none of them.

    Attributes:
        scalp: Skin and fat; the bone below it gives no signal.
        fluid: Cerebrospinal fluid, around the brain and in the ventricles.
        grey: Grey matter.
        white: White matter.
        side: x in mm from the midline, negative on one side and positive on the other.
    """

    scalp: FloatArray
    fluid: FloatArray
    grey: FloatArray
    white: FloatArray
    side: FloatArray

    @property
    def brain(self) -> FloatArray:
        """Grey and white matter together."""
        return self.grey + self.white


def draw_anatomy(grid: Grid, rng: np.random.Generator) -> Anatomy:
    """Draws one patient's head: its size, pose, ventricles and folds."""
    z, y, x = _posed(grid, rng)
    semi_axes = np.asarray(SKULL_MM) * rng.normal(1.0, 0.03, size=3).clip(0.93, 1.07)
    radius = np.sqrt(sum((c / a) ** 2 for c, a in zip((z, y, x), semi_axes, strict=True)))

    step = grid.spacing[2] / semi_axes[2]  # one voxel in units of the radius
    skull, inner = _inside(radius, 1.0, step), _inside(radius, INNER_TABLE, step)
    scalp = skull - _inside(radius, 0.96, step)
    surface = BRAIN_SURFACE + 0.015 * grid.noise(rng, 8.0)
    brain = _inside(radius, surface, step) * (1 - _ventricles(z, y, x, rng, step))
    # The deeper, the less grey; the noise folds the cortex.
    depth = (surface - radius) + 0.05 * grid.noise(rng, 7.0)
    deep_grey = _inside(_ellipsoid(z, y, np.abs(x) - 22, (4, -4, 0), (16, 20, 9)), 1.0, step)
    grey = brain * np.maximum(_inside(depth, 0.13, step), deep_grey)
    return Anatomy(scalp=scalp, fluid=inner - brain, grey=grey, white=brain - grey, side=x)


def _posed(grid: Grid, rng: np.random.Generator) -> list[FloatArray]:
    """The grid's coordinates in a head that lies a little askew."""
    z, y, x = grid.coordinates_mm()
    angle = np.deg2rad(rng.normal(0.0, 4.0))
    shift = rng.normal(0.0, 2.0, size=3)
    z, y, x = z - shift[0], y - shift[1], x - shift[2]
    return [z, y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)]


def _ventricles(z: FloatArray, y: FloatArray, x: FloatArray, rng: np.random.Generator, step: float) -> FloatArray:
    """The two lateral ventricles, mirror images that open backwards."""
    scale = rng.uniform(0.8, 1.3)
    off_midline = np.abs(x) - (7.0 + 0.25 * np.abs(y))
    shape = (18.0 * scale, 30.0 * scale, 5.5 * scale)
    return _inside(_ellipsoid(z, y, off_midline, (14.0, 2.0, 0.0), shape), 1.0, 3 * step)


def _ellipsoid(
    z: FloatArray, y: FloatArray, x: FloatArray, centre: tuple[float, ...], semi_axes: tuple[float, ...]
) -> FloatArray:
    """Distance from the centre in units of the semi-axes."""
    offsets = ((c - o) / a for c, o, a in zip((z, y, x), centre, semi_axes, strict=True))
    return np.sqrt(sum(offset**2 for offset in offsets))


def _inside(distance: FloatArray, limit: float | FloatArray, step: float) -> FloatArray:
    """1 where the distance is below the limit, 0 above it, with an edge one voxel wide."""
    return np.clip((limit - distance) / step + 0.5, 0.0, 1.0).astype(np.float32)
