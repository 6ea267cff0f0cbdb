"""The grid that all channels of a case share, and how images and masks come onto it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

FWHM = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian with a standard deviation of 1."""
TOLERANCE = 0.05
"""Grids whose corners lie closer than this share of the smallest voxel edge are the same: headers are rounded."""

Interpolation = Literal["linear", "bspline"]
_INTERPOLATORS = {"linear": sitk.sitkLinear, "bspline": sitk.sitkBSpline}


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an image lie (axes x, y, z; mm), as ITK says it."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image) -> Grid:
        """The grid of an image."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def axes(self) -> np.ndarray:
        """`(3, 3)`: the columns are the directions of the axes x, y, z."""
        return np.array(self.direction).reshape(3, 3)

    def point(self, index: tuple[float, ...] | np.ndarray) -> np.ndarray:
        """`(3,)` mm of a continuous index; `(N, 3)` of `(N, 3)`."""
        return np.asarray(self.origin) + (np.asarray(index) * self.spacing) @ self.axes.T

    def index(self, points: np.ndarray) -> np.ndarray:
        """The continuous index of points in mm, `(N, 3)`."""
        return (points - np.asarray(self.origin)) @ self.axes / self.spacing

    @property
    def centre(self) -> np.ndarray:
        """`(3,)` mm: the middle of the field of view."""
        return self.point((np.array(self.size) - 1) / 2)

    def matches(self, other: Grid) -> bool:
        """Whether voxels with the same index lie at the same place, but for the rounding of headers."""
        if self.size != other.size:
            return False
        corners = np.array(list(np.ndindex(2, 2, 2))) * self.size
        apart = np.abs(self.point(corners) - other.point(corners)).max()
        return bool(apart <= TOLERANCE * min(*self.spacing, *other.spacing))

    def image(self, array: np.ndarray) -> sitk.Image:
        """An image of values `(Z, Y, X)` on this grid."""
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image

    def __str__(self) -> str:
        size, spacing = " x ".join(map(str, self.size)), " x ".join(f"{s:.4g}" for s in self.spacing)
        return f"{size} voxels of {spacing} mm from {tuple(round(o, 2) for o in self.origin)} mm"


def common_grid(reference: sitk.Image, spacing: tuple[float, float, float] | None) -> Grid:
    """The grid of the reference or, with `spacing` (x, y, z of its axes, mm), one over the same field of view."""
    grid = Grid.of(reference)
    if spacing is None:
        return grid
    extent = np.array(grid.size) * grid.spacing
    size = np.maximum(np.round(extent / spacing), 1).astype(int)
    origin = grid.centre - grid.axes @ ((size - 1) / 2 * np.array(spacing))
    return Grid(tuple(size.tolist()), tuple(map(float, spacing)), tuple(origin.tolist()), grid.direction)


def affine(transform: Any) -> tuple[np.ndarray, np.ndarray]:
    """A linear transform of either library as matrix `(3, 3)` and shift `(3,)`, by what it does to four points."""
    shift = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(axis)) - shift for axis in np.eye(3).tolist()]
    return np.array(columns).T, shift


def same_grid(one: sitk.Image, other: sitk.Image) -> bool:
    """Whether two images lie on one grid."""
    return Grid.of(one).matches(Grid.of(other))


def resample(image: sitk.Image, grid: Grid, transform: sitk.Transform, *, interpolation: Interpolation) -> sitk.Image:
    """Brings an image onto a grid.

    Where an axis of the grid is coarser than the image, the image is blurred first by what its voxels lack to the
    grid's (Cardoso et al., "Scale factor point spread function matching", MICCAI 2015), or it would alias. The
    result (float32) keeps to the image's range of values. What lies outside the image's view becomes 0, as air is,
    or the value of the image closest to it. An image that lies on the grid already is copied untouched.

    Args:
        image: 3D.
        grid: The new grid.
        transform: From the grid's space to the image's, as `sitk.Resample` wants it.
        interpolation: Between voxels.
    """
    if _lies_on(image, grid, transform):  # with exactly the grid's header, which may differ by the rounding of its own
        return grid.image(sitk.GetArrayViewFromImage(image))
    pixels = sitk.GetArrayViewFromImage(image)
    low, high = float(pixels.min()), float(pixels.max())
    image = _blur(sitk.Cast(image, sitk.sitkFloat32), grid)
    moved = _resample(image, grid, transform, _INTERPOLATORS[interpolation], min(max(0.0, low), high))
    return sitk.Clamp(moved, sitk.sitkFloat32, low, high) if interpolation == "bspline" else moved


def resample_mask(mask: sitk.Image, grid: Grid, transform: sitk.Transform) -> sitk.Image:
    """Brings a label image onto a grid by nearest neighbour; background outside its view. See `resample`."""
    if _lies_on(mask, grid, transform):
        return grid.image(sitk.GetArrayViewFromImage(mask))
    return _resample(mask, grid, transform, sitk.sitkNearestNeighbor, 0)


def _lies_on(image: sitk.Image, grid: Grid, transform: sitk.Transform) -> bool:
    matrix, shift = affine(transform)
    still = np.allclose(matrix, np.eye(3), rtol=0, atol=1e-9) and np.allclose(shift, 0, atol=1e-6)
    return still and grid.matches(Grid.of(image))


def _resample(
    image: sitk.Image, grid: Grid, transform: sitk.Transform, interpolator: int, outside: float
) -> sitk.Image:
    place = (grid.origin, grid.spacing, grid.direction)
    return sitk.Resample(image, grid.size, transform, interpolator, *place, outside, image.GetPixelID())


def _blur(image: sitk.Image, grid: Grid) -> sitk.Image:
    """Blurs each axis of the image to the spacing of the grid's axis that is closest to parallel with it."""
    partner = np.abs(Grid.of(image).axes.T @ grid.axes).argmax(axis=1)
    before, wanted = np.array(image.GetSpacing()), np.array(grid.spacing)[partner]
    variance = np.maximum(wanted**2 - before**2, 0) / FWHM**2
    if not variance.any():
        return image
    return sitk.DiscreteGaussian(image, variance.tolist(), maximumKernelWidth=129, useImageSpacing=True)
