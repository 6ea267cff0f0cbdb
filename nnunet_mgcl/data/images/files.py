"""Reads images with nnU-Net's readers, and writes them so that what is there is whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.system.errors import UserError, reason
from nnunet_mgcl.system.files import replacing

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

_NIFTI = re.compile(r"((^|\.)(nii|hdr|img|nia)(\.gz)?)+$", re.IGNORECASE)
"""At the end of a name; `nii` alone too, since a dot precedes it in the name of the temporary file."""


def read_images(
    reader: type[BaseReaderWriter], files: Sequence[Path], remedy: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """The image `(C, Z, Y, X)` and its properties, as a reader of nnU-Net reads one file per channel.

    Raises:
        UserError: It cannot, with this remedy.
    """
    try:
        return reader().read_images([str(path) for path in files])
    except Exception as error:  # every reader raises exceptions of its own
        where, found = ", ".join(map(str, files)), f"cannot be read ({reason(error)})"
        raise UserError(where, found, "an intact image", remedy) from None


def write_image(path: Path, image: sitk.Image) -> None:
    """Writes an image atomically and reads it back: ITK says nothing when the disk is full.

    Raises:
        UserError: It cannot be written; what was at `path` is untouched.
    """
    with replacing(path) as temporary:
        sitk.WriteImage(image, temporary)
        if not _holds(temporary, image):
            raise UserError(path, "an image that could not be written whole", "room on the disk", "free some space")


def check_stem(name: str, file_ending: str, where: object) -> None:
    """Refuses the name of a case whose files ITK would write under another: `a.nii` + `.nii.gz` becomes `a.nii.gz`.

    Raises:
        UserError: It ends as a NIfTI file does, and the dataset's files are such.
    """
    stem = _NIFTI.sub("", name)
    if stem != name and _NIFTI.search(file_ending):
        expected = f"a name without an image's ending: ITK would not write {name}{file_ending}"
        raise UserError(where, f"case {name!r}", expected, f"rename it, as in {stem or 'case_001'}")


def _holds(path: Path, image: sitk.Image) -> bool:
    try:
        written = sitk.ReadImage(path)
    except RuntimeError:
        return False
    one, other = sitk.GetArrayViewFromImage(written), sitk.GetArrayViewFromImage(image)
    return one.shape == other.shape and bool((one == other).all())
