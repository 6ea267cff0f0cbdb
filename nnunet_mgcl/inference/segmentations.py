"""Whether the segmentations that nnU-Net exported are whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunet_mgcl.data.images.checks import NIFTI, truncation
from nnunet_mgcl.system.errors import UserError


def require_whole(paths: Iterable[Path], reader: BaseReaderWriter) -> None:
    """Reads what was exported: ITK says nothing where the disk is full.

    Raises:
        UserError: One lacks some of its voxels.
    """
    for path in paths:
        if not is_whole(path, reader):
            remedy = "free some space, and go on with --continue_prediction"
            raise UserError(path, "a segmentation that is not whole", "room on the disk for all of it", remedy)


def is_whole(path: Path, reader: BaseReaderWriter) -> bool:
    """Whether a segmentation is there to its last voxel; SimpleITK makes 0 of what a NIfTI file lacks."""
    if path.name.endswith(NIFTI):
        return truncation(path) is None
    try:
        reader.read_seg(str(path))
    except Exception:  # no such file, or the reader's own error
        return False
    return True
