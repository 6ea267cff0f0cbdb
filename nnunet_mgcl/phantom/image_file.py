"""Writes one image of a phantom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import SimpleITK as sitk

from nnunet_mgcl.data.images.files import write_image
from nnunet_mgcl.phantom.brain.scan import Grid


def write_array(path: Path, array: npt.NDArray[Any], grid: Grid, centre: Sequence[float] = (0.0, 0.0, 0.0)) -> None:
    """Writes an image `(Z, Y, X)`.

    Args:
        path: The file.
        array: Its voxels.
        grid: Their size.
        centre: Where the middle of the image lies in the scanner, in mm along x, y and z.
    """
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing[::-1])
    extents = [(n - 1) * step for n, step in zip(grid.shape[::-1], grid.spacing[::-1], strict=True)]
    image.SetOrigin([middle - extent / 2 for middle, extent in zip(centre, extents, strict=True)])
    write_image(path, image)
