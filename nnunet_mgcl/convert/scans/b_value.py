"""The b-value of an image in a DICOM header, wherever its scanner's maker writes it."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping

_PUBLIC = "0018|9087"
"""DiffusionBValue: enhanced DICOM, Canon, and newer software of the others."""

_PRIVATE = {
    "SIEMENS MR HEADER": ("0019", "0c"),
    "GEMS_PARM_01": ("0043", "39"),
    "Philips Imaging DD 001": ("2001", "03"),
    "Image Private Header": ("0065", "09"),
}
"""Private creator -> group of the b-value, and its element in the creator's block. The last is United Imaging's."""

_BIAS = 10**9
"""GE adds it to some b-values."""


def read_b_value(header: Mapping[str, str]) -> float | None:
    """The b-value of an image in s/mm^2; None where no known element tells it.

    Args:
        header: Tag, as in `0018|9087`, -> text, without the space around it.
    """
    tags = [_PUBLIC]
    for tag, text in header.items():
        group, element = tag.split("|")
        if text in _PRIVATE and _PRIVATE[text][0] == group and element.startswith("00"):
            tags.append(f"{group}|{element[2:]}{_PRIVATE[text][1]}")
    return next((value for tag in tags if (value := _number(header.get(tag, ""))) is not None), None)


def _number(text: str) -> float | None:
    """The first value of an element; SimpleITK hands out one of unknown type (UN) as base64."""
    try:
        value = float(text.split("\\")[0])
    except ValueError:
        value = _unpacked(text)
    return value % _BIAS if math.isfinite(value) and value >= 0 else None


def _unpacked(text: str) -> float:
    """NaN where it is no number."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        return math.nan
    try:
        return float(content.split(b"\\")[0].strip(b" \0"))
    except ValueError:
        layout = {4: "<f", 8: "<d"}.get(len(content))
        return float(struct.unpack(layout, content)[0]) if layout else math.nan
