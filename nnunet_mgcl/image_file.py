"""Writes images so that what is there is whole."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from nnunet_mgcl.errors import UserError
from nnunet_mgcl.files import replacing


def write_image(path: Path, image: sitk.Image) -> None:
    """Writes an image atomically and reads it back: ITK says nothing when the disk is full.

    Raises:
        UserError: It cannot be written; what was at `path` is untouched.
    """
    with replacing(path) as temporary:
        sitk.WriteImage(image, temporary)
        if not _holds(temporary, image):
            raise UserError(path, "an image that could not be written whole", "room on the disk", "free some space")


def _holds(path: Path, image: sitk.Image) -> bool:
    try:
        written = sitk.ReadImage(path)
    except RuntimeError:
        return False
    one, other = sitk.GetArrayViewFromImage(written), sitk.GetArrayViewFromImage(image)
    return one.shape == other.shape and bool((one == other).all())
