"""Which volume of a diffusion-weighted series or file is taken, and which is refused as a guess."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from nnunet_mgcl.convert.scans.dicom import Slice
from nnunet_mgcl.system.errors import UserError

_MAPS = {"ADC", "ADC_MAP", "EADC", "EXP", "FA", "RA", "TENSOR", "DIFFUSION_ANISO"}
"""Values of ImageType. A trace (TRACEW) is derived too, but it is a diffusion-weighted image."""

_LISTED = 8


def b_value(volume: Sequence[Slice]) -> float | None:
    """The b-value of a volume; None where that of a slice is unknown."""
    values = {image.b_value for image in volume}
    return values.pop() if len(values) == 1 else None


def without_maps(images: Sequence[Slice], where: str) -> tuple[list[Slice], list[str]]:
    """The diffusion-weighted images of a series, and a note on maps among them (ADC, anisotropy).

    Raises:
        UserError: There are maps only.
    """
    kept = [image for image in images if not _MAPS & set(image.image_type)]
    left_out = sorted({kind for image in images for kind in image.image_type if kind in _MAPS})
    if not kept:
        remedy = "name the diffusion-weighted series; a map belongs into a column such as ADC"
        raise UserError(where, f"computed maps only ({', '.join(left_out)})", "a diffusion-weighted image", remedy)
    return kept, [f"maps in the series left out ({', '.join(left_out)})"] if left_out else []


def described(volumes: Sequence[Sequence[Slice]]) -> str:
    """The b-value and ImageType of each volume."""
    listed = enumerate(volumes[:_LISTED], start=1)
    texts = [f"{number}: {b_text(b_value(volume))}, {_kinds(volume)}" for number, volume in listed]
    return "; ".join(texts) + ("; ..." if len(volumes) > _LISTED else "")


def b_text(value: float | None) -> str:
    """The b-value of a volume in words."""
    return "b unknown" if value is None else f"b = {value:g}"


def check_choice(volumes: Sequence[Sequence[Slice]], index: int, dwi_volume: str | int | None, where: str) -> None:
    """Refuses a volume that would be taken by guess, or that is not diffusion-weighted.

    Args:
        volumes: Of one series, in order of their b-values, unknown ones at the end.
        index: Of the volume that would be taken.
        dwi_volume: `last`, its number, or None where there is no choice.
        where: For messages.

    Raises:
        UserError: The volumes' b-values do not tell which is the last one, the chosen one's is unknown where others'
            are known, or the only one has b = 0.
    """
    values = [b_value(volume) for volume in volumes]
    several, last, chosen = len(volumes) > 1, dwi_volume == "last", values[index]
    alike = {_kinds(volume) for volume, value in zip(volumes, values, strict=True) if value == chosen}
    guessed = last and (None in values or len(alike) > 1)
    if several and (guessed or (chosen is None and set(values) != {None})):
        remedy = "copy the volume's files into a folder of their own, or convert the series by dcm2niix, and name that"
        remedy = f"--dwi-volume N where it is the same volume in all cases; else {remedy}" if guessed else remedy
        raise UserError(where, described(volumes), "b-values that tell which volume is meant", remedy)
    if chosen == 0 and (last or not several):
        remedy = "name the series of the diffusion-weighted images; b0 itself may be a channel of another name, as B0"
        raise UserError(where, f"b = 0 only ({_kinds(volumes[index])})", "a diffusion-weighted image", remedy)


def check_file(path: Path, count: int, index: int, dwi_volume: str | int | None) -> list[str]:
    """A note on the b-value of a volume of a 4D file, where a `.bval` file beside it tells that.

    Args:
        path: The image.
        count: Of its volumes.
        index: Of the volume that would be taken.
        dwi_volume: `last` or its number.

    Raises:
        UserError: The `.bval` file does not fit the image, or its last volume is to be taken and has not the highest
            b-value.
    """
    beside = path.with_name(re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) + ".bval")
    if not os.path.lexists(beside):
        return []
    try:
        values = [float(word) for word in beside.read_text().split()] if beside.is_file() else []
    except (OSError, ValueError):
        values = []
    if len(values) != count:
        remedy = "mend it, or remove it where it is not this image's"
        raise UserError(path, f"{beside.name} beside it, which lists no b-values of it", f"{count} numbers", remedy)
    if dwi_volume == "last" and values[index] < max(values):
        found = "volumes with b = " + ", ".join(f"{value:g}" for value in values[:_LISTED])
        remedy = "--dwi-volume N where it is the same in all cases; else name the volume as a file of its own"
        raise UserError(path, found, "the highest b-value in the last one", remedy)
    return [b_text(values[index])]


def _kinds(volume: Sequence[Slice]) -> str:
    return " and ".join(sorted({"\\".join(image.image_type) or "no ImageType" for image in volume}))
