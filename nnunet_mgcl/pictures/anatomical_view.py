"""Turns volumes so that a picture shows what a radiologist expects: the front on top, the patient's right side left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk


def same_place(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two images lie alike in space, up to the rounding of their headers.

    Args:
        one: The properties that one of nnU-Net's readers returned with an image.
        other: Those of another one of the same shape, by the same reader.
    """
    a, b = ([np.ravel(part) for part in _geometry(properties)] for properties in (one, other))
    return all(np.shape(x) == np.shape(y) and np.allclose(x, y, atol=1e-2) for x, y in zip(a, b, strict=True))


def _geometry(properties: Mapping[str, Any]) -> list[Any]:
    """Spacing and, where the file says it, place and direction; of nibabel's affines, that of the array."""
    sitk_stuff, nibabel_stuff = properties.get("sitk_stuff", {}), properties.get("nibabel_stuff", {})
    affine = nibabel_stuff.get("reoriented_affine", nibabel_stuff.get("original_affine", ()))
    return [properties["spacing"], sitk_stuff.get("origin", ()), sitk_stuff.get("direction", ()), affine]


@dataclass(frozen=True)
class AnatomicalView:
    """How arrays of one image are turned.

    Attributes:
        direction: SimpleITK's direction cosines, 9 numbers; None where the file says nothing (PNG, TIFF): the array is
            then shown as it lies, and no side may be named.
    """

    direction: tuple[float, ...] | None

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> AnatomicalView:
        """The view of an image that one of nnU-Net's readers has read, from the properties it returned."""
        if direction := properties.get("sitk_stuff", {}).get("direction"):
            return cls(tuple(direction) if len(direction) == 9 else None)
        affines = properties.get("nibabel_stuff", {})
        affine = affines.get("reoriented_affine", affines.get("original_affine"))
        if affine is None:
            return cls(None)
        cosines = affine[:3, :3] / nibabel.affines.voxel_sizes(affine)
        return cls(tuple((np.diag([-1, -1, 1]) @ cosines).ravel().tolist()))  # NIfTI's axes go right, front, up

    def turn(self, array: np.ndarray) -> np.ndarray:
        """An array `(Z, Y, X)`, as the reader returned it, with axes to the patient's top, back and left."""
        if self.direction is None:
            return array
        image = sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)
        image.SetDirection(self.direction)
        return sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS")).astype(array.dtype)

    def turn_spacing(self, spacing: tuple[float, ...]) -> tuple[float, ...]:
        """The spacing `(z, y, x)` in mm in the order of the turned axes."""
        if self.direction is None:
            return tuple(spacing)
        image = sitk.Image(1, 1, 1, sitk.sitkUInt8)
        image.SetSpacing(tuple(float(side) for side in reversed(spacing)))
        image.SetDirection(self.direction)
        return tuple(reversed(sitk.DICOMOrient(image, "LPS").GetSpacing()))

    @property
    def sides(self) -> tuple[str, str] | None:
        """What is left and right in a turned slice; None where it is not known."""
        return ("R", "L") if self.direction is not None else None
