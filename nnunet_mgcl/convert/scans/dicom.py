"""The DICOM series of a folder, by the headers of their files, through SimpleITK (GDCM)."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from nnunet_mgcl.convert.scans.b_value import read_b_value
from nnunet_mgcl.data.images.checks import EDGE, Mistake, geometry_mistake
from nnunet_mgcl.system.errors import UserError

_ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1")
"""CT and MR."""

_IMAGE_CLASS = re.compile(
    rb"\x02\x00\x02\x00UI..1\.2\.840\.10008\.5\.1\.4\.1\.1\.(2|2\.1|4|4\.1|7)[\x00\x02]", re.DOTALL
)
"""The start of a file of CT, MR or secondary-capture images; reports, presentations and DICOMDIR name others."""
_PIXEL_SPACING = "0028|0030"


@dataclass(frozen=True)
class Slice:
    """One file of a series, as far as finding its place needs it.

    Attributes:
        path: The file.
        series: SeriesInstanceUID.
        number: SeriesNumber; empty where unknown.
        modality: Such as `MR`; empty where unknown.
        image_type: ImageType, such as `("DERIVED", "SECONDARY", "ADC")`.
        description: SeriesDescription. May hold anything, a patient's name too: it goes nowhere but to the terminal.
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
    image_type: tuple[str, ...]
    description: str
    instance: int
    b_value: float | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    size: tuple[int, ...]
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
        remedy = "name the folder that holds the series' files itself; where there is no such scan, empty the cell"
        raise UserError(folder, "a folder without a DICOM image", "the files of a series", remedy)
    if uid is None and len(series) == 1:
        return next(iter(series.values()))
    if uid in series:
        return series[uid]
    found = f"{len(series)} series:" if uid is None else f"no series {uid}, but:"
    for key, (first, *others) in sorted(series.items(), key=lambda item: (item[1][0].number.zfill(9), item[0])):
        found += f"\n      {key}: {len(others) + 1} images, series number {first.number or '?'}, "
        found += f"{first.modality or '?'}, {first.description!r}"
    raise UserError(folder, found, "one series", f"name the one wanted: {folder}#SeriesInstanceUID")


def open_dicom(path: Path) -> sitk.ImageFileReader:
    """A reader that has read the header of a DICOM image.

    Raises:
        RuntimeError: It is none.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.LoadPrivateTagsOn()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def spacing_mistake(path: Path) -> Mistake | None:
    """What is wrong with the edges of a DICOM image's pixels, for which GDCM may take 1 mm; None: nothing."""
    reader = open_dicom(path)
    if not reader.HasMetaDataKey(_PIXEL_SPACING):
        return None
    text = reader.GetMetaData(_PIXEL_SPACING).strip(" \0")
    try:
        edges = [float(part) for part in text.split("\\")]
    except ValueError:
        edges = []
    if len(edges) == 2 and not geometry_mistake((), edges):
        return None
    return f"a spacing of {text} mm", EDGE


def _read_header(path: Path) -> tuple[str, Slice] | None:
    """SOPInstanceUID and header of a file; None where it is no DICOM image."""
    try:
        reader = open_dicom(path)
    except RuntimeError:
        with path.open("rb") as file:
            start = file.read(1024)
        if start[128:132] == b"DICM" and _IMAGE_CLASS.search(start):
            raise UserError(path, "a damaged DICOM image", "a whole file", "copy it again from the archive") from None
        return None

    def text(tag: str) -> str:
        return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""

    def whole(tag: str, default: int) -> int:
        try:
            return int(float(text(tag)))
        except ValueError:
            return default

    image_type = tuple(filter(None, text("0008|0008").split("\\")))
    direction = reader.GetDirection()
    is_enhanced = text("0008|0016") in _ENHANCED
    placed = is_enhanced or reader.HasMetaDataKey("0020|0032")  # enhanced: in a sequence
    return text("0008|0018"), Slice(
        path=path,
        series=text("0020|000e"),
        number=text("0020|0011"),
        modality=text("0008|0060"),
        image_type=image_type,
        description=text("0008|103e"),
        instance=whole("0020|0013", 0),
        b_value=read_b_value({tag: text(tag) for tag in reader.GetMetaDataKeys()}),
        position=reader.GetOrigin() if placed else None,
        orientation=(*direction[0::3], *direction[1::3]) if placed else None,
        size=reader.GetSize()[:2],
        frames=2 if "MOSAIC" in image_type else whole("0028|0008", 1),
        is_enhanced=is_enhanced,
        colour=reader.GetNumberOfComponents() > 1,
    )
