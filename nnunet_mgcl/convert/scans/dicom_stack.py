"""The images of a DICOM series in order: one or several volumes of evenly spaced slices."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.convert.scans.dicom import Slice, open_dicom
from nnunet_mgcl.system.errors import UserError

_DCM2NIIX = "convert it with dcm2niix and name the NIfTI file"

_SAME_POSITION_MM = 0.05
_UNEVEN_SHARE = 0.05
"""Of the gap between two slices."""
_SHEAR_MM = 1.0

_POSITION, _ORIENTATION = b"\x20\x00\x32\x00", b"\x20\x00\x37\x00"
_SLOPE, _INTERCEPT = b"\x28\x00\x53\x10", b"\x28\x00\x52\x10"
_PIXELS = b"\xe0\x7f\x10\x00"


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
    if len(slices) == 1 and slices[0].is_enhanced and not slices[0].colour and _is_one_volume(slices[0].path):
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
    volumes = [[slices[index] for index in volume] for volume in zip(*stack, strict=True)]
    for volume in volumes:
        b_values = sorted({image.b_value for image in volume if image.b_value is not None})
        if len(b_values) > 1:
            found = f"slices of one volume with the b-values {b_values}"
            raise UserError(where, found, "the same b-values at every position", _DCM2NIIX)
    return volumes


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


def _by_b_value(image: Slice) -> float:
    return math.inf if image.b_value is None else image.b_value


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
    sizes = Counter(image.size for image in slices)
    if len(sizes) > 1:
        found = "images of several sizes: " + ", ".join(f"{n} of {x} x {y}" for (x, y), n in sizes.items())
        raise UserError(where, found, "slices of one size", "split the series")
    orientations = np.array([image.orientation for image in slices])
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        found = "images that are not parallel (a localiser?)"
        raise UserError(where, found, "slices of one orientation", "name another series")


def _check_stack(positions: np.ndarray, heights: np.ndarray, stack: Sequence[Sequence[int]], where: str) -> None:
    """Raises where slices are missing, unevenly spaced or shifted against each other in plane."""
    counts = {len(place) for place in stack}
    if len(counts) > 1:
        found = f"{min(counts)} to {max(counts)} images at a position"
        remedy = "copy the missing files, or remove the incomplete volume"
        raise UserError(where, found, "as many at every position", remedy)
    if len(stack) == 1:
        raise UserError(where, "one slice", "a volume", "name the whole series")
    firsts = [place[0] for place in stack]
    gaps = np.diff(heights[firsts])
    gap = float(np.median(gaps))
    if np.abs(gaps - gap).max() > _UNEVEN_SHARE * gap:
        found = f"{len(stack)} slices with gaps from {gaps.min():.2f} to {gaps.max():.2f} mm between them"
        remedy = f"copy the missing files; an uneven series: {_DCM2NIIX}"
        raise UserError(where, found, f"one every {gap:.2f} mm", remedy)
    between = float(np.sum((positions[firsts[-1]] - positions[firsts[0]]) ** 2))
    shift = math.sqrt(max(0.0, between - float(gaps.sum()) ** 2))
    if shift > _SHEAR_MM:
        found = f"slices shifted by {shift:.1f} mm in plane from the first to the last (gantry tilt?)"
        raise UserError(where, found, "slices stacked at right angles", _DCM2NIIX + " (it mends the tilt)")


def _is_one_volume(path: Path) -> bool:
    """Whether the frames of an enhanced file are one evenly spaced volume as SimpleITK reads it.

    SimpleITK stacks the frames in the file's order. It does not see that b0 and b1000 follow each other or that a frame
    is missing, and where their order is not that of the slices it falls back to a spacing of 1 mm, all without a word.
    It does not hand out the frames' places either, so they are looked up in the file itself and compared. A False may
    also mean that these are not written as decimal text in little-endian order.
    """
    header = path.read_bytes().partition(_PIXELS)[0]
    if any(len(set(_texts(header, tag))) > 1 for tag in (_ORIENTATION, _SLOPE, _INTERCEPT)):
        return False
    reader = open_dicom(path)
    gap, normal = reader.GetSpacing()[2], np.array(reader.GetDirection())[2::3]
    expected = np.array(reader.GetOrigin()) + gap * np.arange(reader.GetSize()[2])[:, None] * normal
    try:
        positions = np.array([[float(number) for number in text.split(b"\\")] for text in _texts(header, _POSITION)])
    except ValueError:
        return False
    return positions.shape == expected.shape and bool(np.abs(positions - expected).max() < _UNEVEN_SHARE * gap)


def _texts(header: bytes, tag: bytes) -> list[bytes]:
    """The values of a tag of type DS (decimal text), wherever it stands, in explicit or implicit notation."""
    values = []
    for match in re.finditer(re.escape(tag) + rb"(?:DS(..)|(..)\x00\x00)", header, re.DOTALL):
        length = int.from_bytes(match[1] or match[2], "little")
        values.append(header[match.end() : match.end() + length].strip(b" \0"))
    return values
