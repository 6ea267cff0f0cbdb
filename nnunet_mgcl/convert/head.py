"""Where the head is in a scan of any contrast."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import binary_fill_holes, distance_transform_edt

from nnunet_mgcl.convert.grid import Grid

MARGIN_MM = 6.0
"""Air around the head that belongs to it: at its border is much of what two contrasts have in common."""


def head_mask(image: sitk.Image) -> npt.NDArray[np.bool_]:
    """`(Z, Y, X)`: voxels within `MARGIN_MM` of those that are brighter than the mean, and what they enclose."""
    bright = _bright(image)
    near = distance_transform_edt(~bright, sampling=image.GetSpacing()[::-1]) <= MARGIN_MM
    return np.stack([binary_fill_holes(plane) for plane in near])


def head_centre(image: sitk.Image) -> npt.NDArray[np.float64]:
    """`(3,)` mm: the mean place of the voxels that are brighter than the mean."""
    return Grid.of(image).point(np.argwhere(_bright(image))[:, ::-1].mean(axis=0))


def _bright(image: sitk.Image) -> npt.NDArray[np.bool_]:
    array = sitk.GetArrayViewFromImage(image)
    return array > array.mean()
