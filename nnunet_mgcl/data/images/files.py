"""Writes images so that what is there is whole."""

from __future__ import annotations

import re
from pathlib import Path

import SimpleITK as sitk

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import replacing

_NIFTI = re.compile(r"((^|\.)(nii|hdr|img|nia)(\.gz)?)+$", re.IGNORECASE)
"""At the end of a name; `nii` alone too, since a dot precedes it in the name of the temporary file."""


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
