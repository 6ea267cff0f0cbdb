"""Reads a segmentation, of a user or of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunet_mgcl.data.images.checks import image_mistake
from nnunet_mgcl.system.errors import UserError, reason


def read_label_map(path: Path, reader: BaseReaderWriter, remedy: str) -> tuple[np.ndarray, dict[str, Any]]:
    """A label map `(Z, Y, X)` and its properties, with `spacing` in mm.

    Args:
        path: The file.
        reader: That of the plan.
        remedy: What the user can do about a wrong one.

    Raises:
        UserError: It is not there or not whole, has no size or spacing, or more than one volume.
    """
    if mistake := image_mistake(path):
        raise UserError(path, *mistake, remedy)
    try:
        volumes, properties = reader.read_seg(str(path))
    except Exception as error:  # the readers' libraries have errors of their own
        raise UserError(path, f"cannot be read ({reason(error)})", "a segmentation", remedy) from None
    if len(volumes) != 1:
        raise UserError(path, f"{len(volumes)} volumes (4D)", "one label a voxel", remedy)
    return volumes[0], properties
