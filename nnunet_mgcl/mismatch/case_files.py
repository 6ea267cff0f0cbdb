"""A case's files, and why one of them is of no use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from nnunet_mgcl.data.images.checks import header_mistake
from nnunet_mgcl.mismatch.roles import Roles
from nnunet_mgcl.system.errors import reason

MIN_VOXELS = 4
"""Fewer voxels along an axis cannot be smoothed by SimpleITK."""


class NotThereError(Exception):
    """Says in words why something cannot be measured; it empties a cell and does not end the program."""


class CaseFiles:
    """A case's files, read when they are asked for.

    Args:
        images: The folder of its channels.
        segmentation: Its label map.
        ending: What the files' names end with.
        roles: What channels and labels are.

    Raises:
        NotThereError: By every method, where what it returns is not there.
    """

    def __init__(self, images: Path, segmentation: Path, ending: str, roles: Roles) -> None:
        self.images, self.ending, self.roles = images, ending, roles
        self.case = segmentation.name.removesuffix(ending)
        self.segmentation = read_volume(segmentation, "the segmentation")
        self.labels = sitk.GetArrayFromImage(self.segmentation)
        self.voxel_ml = float(np.prod(self.segmentation.GetSpacing())) / 1000

    def mask(self, role: str) -> npt.NDArray[np.bool_]:
        """A lesion `(Z, Y, X)`."""
        if role not in self.roles.masks:
            raise NotThereError(f"no {role} mask")
        return np.isin(self.labels, self.roles.masks[role])

    def image(self, role: str) -> sitk.Image:
        """A channel, on the grid of the segmentation; what is no number, as outside some maps' brain, is 0."""
        if role not in self.roles.channels:
            raise NotThereError(f"no {role} channel")
        image = read_volume(self.images / f"{self.case}_{self.roles.channels[role]:04d}{self.ending}", role)
        if not _same_grid(image, self.segmentation):
            raise NotThereError(f"{role} and the segmentation have different grids")
        values = sitk.GetArrayViewFromImage(image)
        if np.isfinite(values).all():
            return image
        cleaned = sitk.GetImageFromArray(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))
        cleaned.CopyInformation(image)
        return cleaned

    def array(self, role: str) -> npt.NDArray[np.float64]:
        """Its values `(Z, Y, X)`."""
        return sitk.GetArrayFromImage(self.image(role)).astype(np.float64)

    def ml(self, mask: npt.NDArray[np.bool_]) -> float:
        """Volume of a mask."""
        return float(np.count_nonzero(mask)) * self.voxel_ml


def read_volume(path: Path, what: str) -> sitk.Image:
    """Reads an image in three dimensions.

    Raises:
        NotThereError: There is none.
    """
    if not path.is_file():
        raise NotThereError(f"no file {path.name} ({what})")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise NotThereError(f"{path.name} cannot be read ({reason(error)})") from None
    if mistake := header_mistake(path):
        raise NotThereError(f"{path.name} has {mistake[0]}")
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1 or min(image.GetSize()) < MIN_VOXELS:
        raise NotThereError(f"{path.name} is no volume of single values, {MIN_VOXELS} or more along each axis")
    return image


def _same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Whether two images have the same voxels, up to the rounding of their headers."""
    one, other = ([*i.GetSpacing(), *i.GetOrigin(), *i.GetDirection()] for i in (a, b))
    return a.GetSize() == b.GetSize() and np.allclose(one, other, atol=1e-2)
