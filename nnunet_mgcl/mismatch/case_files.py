"""A case's images, in files or in memory, and why one of them is of no use."""

from __future__ import annotations

from collections.abc import Callable
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


class CaseImages:
    """A case's label map and the channels that are measured, read when they are asked for.

    Args:
        segmentation: Its label map, in three dimensions.
        channel: Gives a channel by its number; the second argument is what to call it.
        roles: What channels and labels are.

    Raises:
        NotThereError: By every method, where what it returns is not there.
    """

    def __init__(self, segmentation: sitk.Image, channel: Callable[[int, str], sitk.Image], roles: Roles) -> None:
        self.segmentation, self.channel, self.roles = segmentation, channel, roles
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
        image = self.channel(self.roles.channels[role], role)
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


def read_case(images: Path, segmentation: Path, ending: str, roles: Roles) -> CaseImages:
    """A case whose channels lie in a folder, named as nnU-Net names them.

    Raises:
        NotThereError: The label map is of no use.
    """
    case = segmentation.name.removesuffix(ending)
    return CaseImages(
        read_volume(segmentation, "the segmentation"),
        lambda number, role: read_volume(images / f"{case}_{number:04d}{ending}", role),
        roles,
    )


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
    return require_volume(image, path.name)


def require_volume(image: sitk.Image, name: str) -> sitk.Image:
    """The image, where it can be smoothed.

    Raises:
        NotThereError: It has another dimension, colours, or too few voxels.
    """
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1 or min(image.GetSize()) < MIN_VOXELS:
        raise NotThereError(f"{name} is no volume of single values, {MIN_VOXELS} or more along each axis")
    return image


def _same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Whether two images have the same voxels, up to the rounding of their headers."""
    one, other = ([*i.GetSpacing(), *i.GetOrigin(), *i.GetDirection()] for i in (a, b))
    return a.GetSize() == b.GetSize() and np.allclose(one, other, atol=1e-2)
