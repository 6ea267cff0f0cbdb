"""Where the head is in a scan of any contrast."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import binary_fill_holes, distance_transform_edt

MARGIN_MM = 6.0
"""Air around the head that belongs to it: at its border is much of what two contrasts have in common."""


def head_mask(image: sitk.Image) -> npt.NDArray[np.bool_]:
    """`(Z, Y, X)`: voxels within `MARGIN_MM` of those that are brighter than the mean, and what they enclose."""
    near = distance_transform_edt(~bright(image), sampling=image.GetSpacing()[::-1]) <= MARGIN_MM
    return np.stack([binary_fill_holes(plane) for plane in near])


def bright(image: sitk.Image) -> npt.NDArray[np.bool_]:
    """`(Z, Y, X)`: voxels that are brighter than the mean."""
    array = sitk.GetArrayViewFromImage(image)
    return array > array.mean()
