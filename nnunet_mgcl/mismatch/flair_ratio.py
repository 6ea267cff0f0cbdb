"""DWI-FLAIR mismatch: how much brighter a DWI lesion is in FLAIR than the same place of the other hemisphere.

Arrays are `(Z, Y, X)`, as SimpleITK hands them out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import label, map_coordinates

from nnunet_mgcl.mismatch.symmetry import find_mirror_plane, tissue_threshold, voxel_indices

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

FLAIR_POSITIVE = 1.15
"""Ratio from which on a lesion counts as visible: MR WITNESS treated below (Schwamm et al., Ann Neurol 2018;83:980)."""
MIN_LESION_ML = 0.5
"""Smaller lesions are some voxels of noise and partial volume. Chosen."""
MIN_COMPARED = 0.1
"""Share of a lesion that must have healthy tissue as its mirror image. Chosen."""
ONE_SIDE = 0.9
"""Share of a lesion on one side of the plane from which on it is that side's. Chosen."""
BELOW_ZERO = 0.05
"""How far air may be below 0, as a share of tissue's intensity: interpolation overshoots a little. Chosen."""


@dataclass(frozen=True)
class LesionRatio:
    """One lesion, or all of a patient's together.

    Attributes:
        volume_ml: Its volume.
        centre: x, y, z in mm (RAS, as viewers show them).
        side: left, right or both, of the patient; empty where there is no plane.
        ratio: Median FLAIR intensity of the lesion over that of its mirror region; None where there is none.
        reason: Why there is none.
    """

    volume_ml: float
    centre: tuple[float, float, float]
    side: str
    ratio: float | None
    reason: str = ""


@dataclass(frozen=True)
class FlairMismatch:
    """A patient's lesions, the largest first, and all their voxels as one (None without a lesion)."""

    lesions: list[LesionRatio]
    patient: LesionRatio | None


def flair_mismatch(
    flair: sitk.Image,
    dwi_lesion: BoolArray,
    other: BoolArray | None = None,
    min_ml: float = MIN_LESION_ML,
    missing: str = "",
) -> FlairMismatch:
    """Measures every DWI lesion in FLAIR.

    Args:
        flair: The FLAIR image.
        dwi_lesion: The DWI mask on its grid.
        other: What else is no healthy tissue, such as the FLAIR mask.
        min_ml: Connected components (26 neighbours) smaller than this are left out.
        missing: Why there is no FLAIR image, where `flair` is another one on the mask's grid: no lesion has a ratio.
    """
    masks = _large_lesions(flair, dwi_lesion, min_ml)
    if not masks:
        return FlairMismatch([], None)
    unhealthy = dwi_lesion if other is None else dwi_lesion | other
    measure = _Measure(flair, unhealthy, missing)
    lesions = [measure.lesion(mask) for mask in masks]
    return FlairMismatch(lesions, measure.lesion(np.any(masks, axis=0)) if len(masks) > 1 else lesions[0])


def _large_lesions(grid: sitk.Image, dwi_lesion: BoolArray, min_ml: float) -> list[BoolArray]:
    """One mask per lesion, the largest first."""
    parts, _ = label(dwi_lesion, np.ones((3, 3, 3)))
    voxels = np.bincount(parts.ravel())[1:]
    order = np.argsort(-voxels, kind="stable")
    return [parts == part + 1 for part in order if voxels[part] * _voxel_ml(grid) >= min_ml]


def _place(grid: sitk.Image, indices: npt.NDArray[np.int64]) -> tuple[float, tuple[float, float, float], FloatArray]:
    """Of voxels `(N, 3)` as (z, y, x): their volume in ml, centre (RAS) and points (LPS)."""
    matrix = np.reshape(grid.GetDirection(), (3, 3)) * np.asarray(grid.GetSpacing())
    points = indices[:, ::-1] @ matrix.T + np.asarray(grid.GetOrigin())
    x, y, z = (points.mean(axis=0) * [-1, -1, 1]).tolist()
    return len(indices) * _voxel_ml(grid), (x, y, z), points


def _voxel_ml(grid: sitk.Image) -> float:
    return float(np.prod(grid.GetSpacing())) / 1000


class _Measure:
    """Measures lesions of one image; `missing` as of `flair_mismatch`."""

    def __init__(self, flair: sitk.Image, unhealthy: BoolArray, missing: str) -> None:
        self.flair, self.unhealthy = flair, unhealthy
        self.plane = None if missing else find_mirror_plane(flair)
        self.no_plane = missing or "FLAIR is not symmetric enough to find the midline"
        self.values = sitk.GetArrayFromImage(flair).astype(np.float64)
        self.darkest = float(np.quantile(self.values, 0.05))
        self.fluid_below = 0.0 if missing else tissue_threshold(self.values)

    def lesion(self, mask: BoolArray) -> LesionRatio:
        indices = np.argwhere(mask)
        volume, centre, points = _place(self.flair, indices)
        if self.plane is None:
            return LesionRatio(volume, centre, "", None, self.no_plane)
        left = float((self.plane.distance(points) > 0).mean())
        side = "left" if left >= ONE_SIDE else "right" if left <= 1 - ONE_SIDE else "both"
        here, there = self._tissue(self.values[mask]), self._tissue(self._healthy_mirror(points))
        reason = ""
        if len(here) < MIN_COMPARED * len(indices):
            reason = "the lesion is as dark as fluid in FLAIR"
        elif len(there) < MIN_COMPARED * len(indices):
            reason = "the mirror region is lesion, fluid or out of view"
        elif self.darkest < -BELOW_ZERO * np.median(there):
            reason = "FLAIR goes below 0: it was normalised, so it has no ratio"
        ratio = None if reason else float(np.median(here) / np.median(there))
        return LesionRatio(volume, centre, side, ratio, reason)

    def _tissue(self, values: FloatArray) -> FloatArray:
        return values[values > self.fluid_below]

    def _healthy_mirror(self, points: FloatArray) -> FloatArray:
        """FLAIR at the mirror images of points, but for those outside the image or in a lesion."""
        assert self.plane is not None
        indices = voxel_indices(self.flair, self.plane.mirror(points))[:, ::-1]
        nearest = np.rint(indices).astype(int)
        inside = np.all((nearest >= 0) & (nearest < self.values.shape), axis=1)
        inside[inside] = ~self.unhealthy[tuple(nearest[inside].T)]
        return map_coordinates(self.values, indices[inside].T, order=1, mode="nearest")
