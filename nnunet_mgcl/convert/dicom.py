"""DICOM series of single-slice images, through SimpleITK (GDCM)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.convert.dicom_frames import is_one_volume
from nnunet_mgcl.errors import UserError

_DCM2NIIX = "convert it with dcm2niix and name the NIfTI file"

_SAME_POSITION_MM = 0.05
_UNEVEN_SHARE = 0.05
_SHEAR_MM = 1.0

_ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1")
"""CT and MR."""

_IMAGE_CLASS = re.compile(
    rb"\x02\x00\x02\x00UI..1\.2\.840\.10008\.5\.1\.4\.1\.1\.(2|2\.1|4|4\.1|7)[\x00\x02]", re.DOTALL
)
"""The start of a file of CT, MR or secondary-capture images; reports, presentations and DICOMDIR name others."""


@dataclass(frozen=True)
class Slice:
    """One file of a series, as far as finding its place needs it.

    Attributes:
        path: The file.
        series: SeriesInstanceUID.
        number: SeriesNumber; empty where unknown.
        modality: Such as `MR`; empty where unknown.
        description: SeriesDescription. May hold anything, a patient's name too: it goes nowhere.
        instance: InstanceNumber; 0 where unknown.
        b_value: In s/mm^2; None where unknown.
        position: ImagePositionPatient, in mm; None where unknown.
        orientation: ImageOrientationPatient, row and column direction; None where unknown.
        size: Columns and rows.
        frames: How many slices the file holds; a Siemens mosaic counts as several.
        is_enhanced: Whether the frames are enhanced MR, which knows where each lies.
        colour: Whether its voxels are colours.
    """

    path: Path
    series: str
    number: str
    modality: str
    description: str
    instance: int
    b_value: float | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    size: tuple[int, int]
    frames: int
    is_enhanced: bool
    colour: bool


def find_series(folder: Path) -> dict[str, list[Slice]]:
    """Reads the headers of all DICOM images in a folder; what is no DICOM image is passed over.

    Args:
        folder: Its subfolders are not looked into.

    Returns:
        SeriesInstanceUID -> its images, each once.

    Raises:
        UserError: An image is damaged.
    """
    series: dict[str, dict[str, Slice]] = defaultdict(dict)
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and (header := _read_header(path)):
            uid, image = header
            series[image.series].setdefault(uid or str(path), image)  # a copy under another name is the same image
    return {uid: list(images.values()) for uid, images in series.items()}


def pick_series(folder: Path, uid: str | None) -> list[Slice]:
    """The images of one series of a folder.

    Args:
        folder: Where the files are.
        uid: SeriesInstanceUID; None: there must be one only.

    Raises:
        UserError: There is no such series, or `uid` is None and there are several.
    """
    series = find_series(folder)
    if not series:
        raise UserError(
            folder, "a folder without a DICOM image", "the files of a series", "name that folder, or a file"
        )
    if uid is None and len(series) == 1:
        return next(iter(series.values()))
    if uid is None or uid not in series:
        lines = [
            f"\n      {key}: {len(images)} images, series number {images[0].number or '?'}, {images[0].modality or '?'}"
            for key, images in sorted(series.items(), key=lambda item: (item[1][0].number.zfill(9), item[0]))
        ]
        found = f"{len(series)} series:" if uid is None else f"no series {uid}, but:"
        remedy = f"name the one wanted: {folder}#SeriesInstanceUID"
        raise UserError(folder, found + "".join(lines), "one series", remedy)
    return series[uid]


def arrange(slices: Sequence[Slice], where: str) -> list[list[Slice]]:
    """Puts the images of one series in order.

    Args:
        slices: All images of the series.
        where: For messages.

    Returns:
        Volumes in order of their b-value (where known), then InstanceNumber; each from its first to its last slice.

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
        place.sort(key=lambda index: (slices[index].b_value or 0, slices[index].instance))
    volumes = [[slices[place[number]] for place in stack] for number in range(len(stack[0]))]
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


def _read_header(path: Path) -> tuple[str, Slice] | None:
    """SOPInstanceUID and header of a file; None where it is no DICOM image."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.LoadPrivateTagsOn()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        with path.open("rb") as file:
            start = file.read(1024)
        if start[128:132] == b"DICM" and _IMAGE_CLASS.search(start):
            raise UserError(path, "a damaged DICOM image", "a whole file", "copy it again from the archive") from None
        return None

    def text(tag: str) -> str:
        return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""

    def numbers(tag: str, count: int) -> tuple[float, ...] | None:
        try:
            values = tuple(float(part) for part in text(tag).split("\\"))
        except ValueError:
            return None
        return values if len(values) == count else None

    b_value = numbers("0018|9087", 1) or numbers("0019|100c", 1)  # the second is Siemens' private one
    size, direction = reader.GetSize(), reader.GetDirection()
    is_enhanced = text("0008|0016") in _ENHANCED
    placed = is_enhanced or reader.HasMetaDataKey("0020|0032")  # enhanced: in a sequence
    return text("0008|0018"), Slice(
        path=path,
        series=text("0020|000e"),
        number=text("0020|0011"),
        modality=text("0008|0060"),
        description=text("0008|103e"),
        instance=int((numbers("0020|0013", 1) or (0,))[0]),
        b_value=b_value[0] if b_value else None,
        position=reader.GetOrigin() if placed else None,
        orientation=(*direction[0::3], *direction[1::3]) if placed else None,
        size=(size[0], size[1]),
        frames=2 if "MOSAIC" in text("0008|0008").split("\\") else int((numbers("0028|0008", 1) or (1,))[0]),
        is_enhanced=is_enhanced,
        colour=reader.GetNumberOfComponents() > 1,
    )


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
