"""The plane between the hemispheres, found from the image alone.

Among all planes it is the one across which the head looks most like its mirror image. Three numbers fix a plane, so
these are searched: a rigid registration of the image with its mirror image has six, three of which move no plane.
Everything is in the physical space that SimpleITK reads (LPS, mm): voxel size, oblique slices and the order of the
axes do not matter. No random numbers: equal images give equal planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import binary_dilation, gaussian_filter, map_coordinates
from scipy.optimize import minimize

FloatArray = npt.NDArray[np.floating[Any]]

STEP_MM = 3.0
"""Distance of the points at which a head is compared with its mirror image."""
SMOOTHING_MM = 3.0
"""Standard deviation of the blur before: hemispheres are alike no finer than that."""
STARTS_DEGREES, STARTS_MM = (-15.0, 0.0, 15.0), (-8.0, 0.0, 8.0)
"""Where the search starts: turned, tilted and shifted. Heads that lie up to 25 degrees off are found."""
MIN_SYMMETRY = 0.5
"""Correlation of an image with its mirror image below which it is no head. Chosen: see docs/mismatch.md."""


@dataclass(frozen=True)
class MirrorPlane:
    """The plane of the points p with `normal . p = offset`.

    Attributes:
        normal: Unit vector in LPS, pointing to the patient's left.
        offset: Its distance from the origin in mm.
        symmetry: Correlation of the image with its mirror image.
    """

    normal: tuple[float, float, float]
    offset: float
    symmetry: float

    def distance(self, points: FloatArray) -> FloatArray:
        """Signed distance in mm of points `(N, 3)`, positive to the patient's left."""
        return points @ np.asarray(self.normal) - self.offset

    def mirror(self, points: FloatArray) -> FloatArray:
        """The points `(N, 3)` on the other side."""
        return points - 2 * self.distance(points)[:, None] * np.asarray(self.normal)


def find_mirror_plane(image: sitk.Image) -> MirrorPlane | None:
    """Finds the plane between the hemispheres of a head.

    Args:
        image: A head in three dimensions, of any voxel size; FLAIR, or another image that is alike on both sides.

    Returns:
        The plane; None where the image is not like its mirror image across any.
    """
    values, origin = _resampled(image)
    head = values > tissue_threshold(values)
    if not head.any():
        return None
    # What is far brighter than tissue (fat, a lesion) must not decide alone; the edge of the head may.
    values = gaussian_filter(np.minimum(values, np.quantile(values[head], 0.95)), SMOOTHING_MM / STEP_MM)
    points = origin + STEP_MM * np.argwhere(binary_dilation(head, iterations=3))
    points = points[_in_view(image, points)]
    rough, fine = (_Search(image, values, origin, points[:: 1 + len(points) // count]) for count in (2000, 8000))
    starts = sorted(product(STARTS_DEGREES, STARTS_DEGREES, STARTS_MM), key=rough.cost)[:3]
    best = min((rough.descend(start, 4.0) for start in starts), key=rough.cost)
    plane = fine.plane(fine.descend(best, 1.0))
    return plane if plane.symmetry >= MIN_SYMMETRY else None


def tissue_threshold(values: FloatArray) -> float:
    """Otsu's threshold: in FLAIR fluid is as dark as air, and both are below it."""
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(np.ravel(values)[None].astype(np.float32)))
    return float(otsu.GetThreshold())


class _Search:
    """Planes given as (turn, tilt) in degrees and a shift in mm from the middle of the points `(N, 3)`."""

    def __init__(self, image: sitk.Image, values: FloatArray, origin: FloatArray, points: FloatArray) -> None:
        self.image, self.values, self.origin, self.points = image, values, origin, points
        self.centre = points.mean(axis=0)

    def plane(self, parameters: Sequence[float]) -> MirrorPlane:
        turn, tilt = np.deg2rad(parameters[:2])
        normal = np.array([np.cos(turn) * np.cos(tilt), np.sin(turn) * np.cos(tilt), np.sin(tilt)])
        x, y, z = normal.tolist()
        plane = MirrorPlane((x, y, z), float(normal @ self.centre) + parameters[2], 0.0)
        mirrored = plane.mirror(self.points)
        # The end of the field of view is no feature of the head: what it cuts off would keep the plane upright.
        seen = _in_view(self.image, mirrored)
        here, there = self._at(self.points[seen]), self._at(mirrored[seen])
        varied = len(here) > len(seen) / 2 and here.std() > 0 and there.std() > 0
        symmetry = float(np.corrcoef(here, there)[0, 1]) if varied else 0.0
        return MirrorPlane(plane.normal, plane.offset, symmetry)

    def cost(self, parameters: Sequence[float]) -> float:
        return -self.plane(parameters).symmetry

    def descend(self, start: Sequence[float], step: float) -> tuple[float, ...]:
        simplex = [start] + [[s + step * (i == j) for j, s in enumerate(start)] for i in range(3)]
        options = {"initial_simplex": simplex, "xatol": 0.03, "fatol": 1e-5}
        return tuple(minimize(self.cost, start, method="Nelder-Mead", options=options).x.tolist())

    def _at(self, points: FloatArray) -> FloatArray:
        return map_coordinates(self.values, ((points - self.origin) / STEP_MM).T, order=1)


def voxel_indices(image: sitk.Image, points: FloatArray) -> FloatArray:
    """Continuous indices `(N, 3)`, x first, of physical points `(N, 3)`."""
    matrix = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    return (points - np.asarray(image.GetOrigin())) @ np.linalg.inv(matrix).T


def _in_view(image: sitk.Image, points: FloatArray) -> npt.NDArray[np.bool_]:
    """Which points `(N, 3)` lie between the centres of the image's voxels."""
    indices = voxel_indices(image, points)
    return np.all((indices >= 0) & (indices <= np.asarray(image.GetSize()) - 1), axis=1)


def _resampled(image: sitk.Image) -> tuple[FloatArray, FloatArray]:
    """The image on axes along x, y and z, `(X, Y, Z)` at `STEP_MM`, and the first voxel's place."""
    ends = product(*([-0.5, n - 0.5] for n in image.GetSize()))
    corners = np.array([image.TransformContinuousIndexToPhysicalPoint(end) for end in ends])
    low, high = corners.min(axis=0), corners.max(axis=0)
    # Where the voxels are finer than the points, noise would be sampled and not averaged.
    fine = [max(0.0, STEP_MM**2 - step**2) ** 0.5 / 2 for step in image.GetSpacing()]
    smooth = sitk.SmoothingRecursiveGaussian(sitk.Cast(image, sitk.sitkFloat32), [max(s, 1e-3) for s in fine])
    counts, first = [int(n) for n in np.ceil((high - low) / STEP_MM)], low + STEP_MM / 2
    grid = (first.tolist(), [STEP_MM] * 3, np.eye(3).ravel().tolist())
    resampled = sitk.Resample(
        smooth, counts, sitk.Transform(), sitk.sitkLinear, *grid, useNearestNeighborExtrapolator=True
    )
    return sitk.GetArrayFromImage(resampled).T, first
