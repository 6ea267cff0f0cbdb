"""Enhanced DICOM: a whole volume in one file.

SimpleITK stacks the frames in the file's order. It does not see that b0 and b1000 follow each other or that a frame is
missing, and where their order is not that of the slices it falls back to a spacing of 1 mm, all without a word. It
does not hand out the frames' places either, so they are looked up in the file itself and compared.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

_POSITION, _ORIENTATION = b"\x20\x00\x32\x00", b"\x20\x00\x37\x00"
_SLOPE, _INTERCEPT = b"\x28\x00\x53\x10", b"\x28\x00\x52\x10"
_PIXELS = b"\xe0\x7f\x10\x00"
_TOLERANCE = 0.05
"""Of the gap between two slices."""


def is_one_volume(path: Path) -> bool:
    """Whether the frames of a file are one evenly spaced volume as SimpleITK reads it.

    A False may also mean that the frames' places are not written as decimal text in little-endian order.
    """
    header = path.read_bytes().partition(_PIXELS)[0]
    if any(len(set(_texts(header, tag))) > 1 for tag in (_ORIENTATION, _SLOPE, _INTERCEPT)):
        return False
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    gap, normal = reader.GetSpacing()[2], np.array(reader.GetDirection())[2::3]
    expected = np.array(reader.GetOrigin()) + gap * np.arange(reader.GetSize()[2])[:, None] * normal
    try:
        positions = np.array([[float(number) for number in text.split(b"\\")] for text in _texts(header, _POSITION)])
    except ValueError:
        return False
    return positions.shape == expected.shape and bool(np.abs(positions - expected).max() < _TOLERANCE * gap)


def _texts(header: bytes, tag: bytes) -> list[bytes]:
    """The values of a tag of type DS (decimal text), wherever it stands, in explicit or implicit notation."""
    values = []
    for match in re.finditer(re.escape(tag) + rb"(?:DS(..)|(..)\x00\x00)", header, re.DOTALL):
        length = int.from_bytes(match[1] or match[2], "little")
        values.append(header[match.end() : match.end() + length].strip(b" \0"))
    return values
