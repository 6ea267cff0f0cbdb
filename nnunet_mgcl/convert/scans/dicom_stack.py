"""The images of a DICOM series in order: one or several volumes of evenly spaced slices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.convert.scans.dicom import Slice
from nnunet_mgcl.convert.scans.dicom_frames import is_one_volume
from nnunet_mgcl.system.errors import UserError

_DCM2NIIX = "convert it with dcm2niix and name the NIfTI file"

_SAME_POSITION_MM = 0.05
_UNEVEN_SHARE = 0.05
_SHEAR_MM = 1.0


def arrange(slices: Sequence[Slice], where: str) -> list[list[Slice]]:
    """Puts the images of one series in order.

    Args:
        slices: All images of the series.
        where: For messages.

    Returns:
        Volumes in order of their b-value (unknown ones last), then InstanceNumber; each from its first to its last
        slice.

    Raises:
        UserError: The images are no stack of evenly spaced, parallel slices, or positions lack an image.
    """
    if len(slices) == 1 and slices[0].is_enhanced and not slices[0].colour and is_one_volume(slices[0].path):
        return [list(slices)]
    _check_alike(slices, where)
    positions = np.array([image.position for image in slices])
    row, column = np.reshape(np.array(slices[0].orientation), (2, 3))
    heights = positions @ np.cross(row, column)
    stack: list[list[int]] = []
    for index in np.argsort(heights, kind="stable"):
        if not stack or heights[index] - heights[stack[-1][0]] > _SAME_POSITION_MM:
            stack.append([])
        stack[-1].append(int(index))
    _check_stack(positions, heights, stack, where)
    for place in stack:
        place.sort(key=lambda index: (_by_b_value(slices[index]), slices[index].instance))
    volumes = [[slices[place[number]] for place in stack] for number in range(len(stack[0]))]
    for volume in volumes:
        b_values = sorted({image.b_value for image in volume if image.b_value is not None})
        if len(b_values) > 1:
            found = f"slices of one volume with the b-values {b_values}"
            raise UserError(where, found, "the same b-values at every position", _DCM2NIIX)
    return volumes


def _by_b_value(image: Slice) -> float:
    return math.inf if image.b_value is None else image.b_value


def read_volume(slices: Sequence[Slice]) -> sitk.Image:
    """Reads the slices of one volume, rescaled as their headers say, float32.

    Raises:
        RuntimeError: SimpleITK cannot read a file.
    """
    if len(slices) == 1:
        return sitk.ReadImage(str(slices[0].path), sitk.sitkFloat32, "GDCMImageIO")
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(sitk.sitkFloat32)  # or the first slice's type would cut off what others rescale to
    reader.SetFileNames([str(image.path) for image in slices])
    shown = reader.GetGlobalWarningDisplay()
    reader.GlobalWarningDisplayOff()  # it would speak of missing slices where positions are rounded; arrange has looked
    try:
        return reader.Execute()
    finally:
        reader.SetGlobalWarningDisplay(shown)


def _check_alike(slices: Sequence[Slice], where: str) -> None:
    """Raises where the images cannot be slices of one stack."""
    if any(image.frames > 1 for image in slices):
        found = "files with many slices each (enhanced DICOM or mosaic) that SimpleITK does not tell apart"
        raise UserError(where, found, "one file a slice, or one file with one volume", _DCM2NIIX)
    if any(image.colour for image in slices):
        raise UserError(where, "colour pictures", "an image with one value a voxel", "export the values, not a picture")
    if any(image.position is None or image.orientation is None for image in slices):
        found = "images without a position in space (screenshots?)"
        raise UserError(where, found, "slices with ImagePositionPatient and ImageOrientationPatient", "name the scan")
    if len({image.size for image in slices}) > 1:
        sizes = ", ".join(
            f"{count} of {size[0]} x {size[1]}" for size, count in Counter(s.size for s in slices).items()
        )
        raise UserError(where, f"images of several sizes: {sizes}", "slices of one size", "split the series")
    orientations = np.array([image.orientation for image in slices])
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        found = "images that are not parallel (a localiser?)"
        raise UserError(where, found, "slices of one orientation", "name another series")


def _check_stack(positions: np.ndarray, heights: np.ndarray, stack: Sequence[Sequence[int]], where: str) -> None:
    """Raises where slices are missing, unevenly spaced or shifted against each other in plane."""
    counts = [len(place) for place in stack]
    if len(set(counts)) > 1:
        found = f"{min(counts)} to {max(counts)} images at a position"
        raise UserError(
            where, found, "as many at every position", "copy the missing files, or remove the incomplete volume"
        )
    if len(stack) == 1:
        raise UserError(where, "one slice", "a volume", "name the whole series")
    levels = heights[[place[0] for place in stack]]
    gaps = np.diff(levels)
    gap = float(np.median(gaps))
    if np.abs(gaps - gap).max() > _UNEVEN_SHARE * gap:
        found = f"{len(stack)} slices with gaps from {gaps.min():.2f} to {gaps.max():.2f} mm between them"
        raise UserError(
            where, found, f"one every {gap:.2f} mm", "copy the missing files; an uneven series: " + _DCM2NIIX
        )
    along = positions[[place[0] for place in stack]]
    shift = float(np.sqrt(max(0.0, np.sum((along[-1] - along[0]) ** 2) - (levels[-1] - levels[0]) ** 2)))
    if shift > _SHEAR_MM:
        found = f"slices shifted by {shift:.1f} mm in plane from the first to the last (gantry tilt?)"
        raise UserError(where, found, "slices stacked at right angles", _DCM2NIIX + " (it mends the tilt)")
