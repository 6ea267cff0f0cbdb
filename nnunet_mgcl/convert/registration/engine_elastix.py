"""Rigid registration by elastix, as in the paper; needs the package itk-elastix."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.convert.registration.grid import affine
from nnunet_mgcl.data.images.head import head_mask
from nnunet_mgcl.system.errors import UserError, reason

SETTINGS = {
    "NumberOfSpatialSamples": "4096",
    "RandomSeed": "1",
    "WriteResultImage": "false",
}
"""What differs from elastix' own rigid parameter map (Mattes' mutual information, adaptive stochastic descent)."""
LEVELS_MM = (8.0, 4.0, 2.0)
"""What the image pyramid blurs to; elastix itself counts in voxels, which are much longer across the slices."""


def align(fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    """Refines a pose.

    Args:
        fixed: 3D, float32.
        moving: 3D, float32.
        start: From the fixed scan's space to the moving one's; close already.

    Raises:
        UserError: The package is missing, or elastix gives up.
    """
    itk = load_elastix()
    fixed_values, moving_values = (sitk.GetArrayFromImage(image) for image in (fixed, moving))
    method = itk.ElastixRegistrationMethod.New(
        _itk_image(itk, fixed_values, fixed), _itk_image(itk, moving_values, moving)
    )
    method.SetFixedMask(_itk_image(itk, head_mask(fixed).astype(np.uint8), fixed))
    method.SetParameterObject(_parameters(itk, fixed, moving))
    initial = itk.Euler3DTransform[itk.D].New()
    initial.SetCenter(start.GetCenter())
    initial.SetRotation(start.GetAngleX(), start.GetAngleY(), start.GetAngleZ())
    initial.SetTranslation(start.GetTranslation())
    method.SetExternalInitialTransform(initial)
    method.SetNumberOfThreads(1)  # sums in another order would give other last digits
    method.SetLogToConsole(False)
    method.SetLogToFile(False)
    try:
        method.UpdateLargestPossibleRegion()
    except RuntimeError as error:
        remedy = "look at both scans in a viewer, or use --engine sitk"
        raise UserError("elastix", f"gave up: {reason(error)}", "two scans of one head that overlap", remedy) from None
    return _to_sitk(method.GetCombinationTransform(), start.GetCenter())


def load_elastix() -> ModuleType:
    """The package `itk` with elastix in it.

    Raises:
        UserError: It is missing.
    """
    try:
        import itk

        itk.ElastixRegistrationMethod  # noqa: B018  (itk without elastix has no such name)
    except (ImportError, AttributeError):
        remedy = 'pip install "nnunet_mgcl[elastix]", or use --engine sitk'
        raise UserError("--engine elastix", "itk-elastix is not installed", "the package itk-elastix", remedy) from None
    return itk


def _itk_image(itk: ModuleType, values: np.ndarray, like: sitk.Image) -> Any:
    image = itk.image_from_array(values)
    image.SetSpacing(like.GetSpacing())
    image.SetOrigin(like.GetOrigin())
    image.SetDirection(itk.matrix_from_array(np.reshape(like.GetDirection(), (3, 3))))
    return image


def _parameters(itk: ModuleType, fixed: sitk.Image, moving: sitk.Image) -> Any:
    parameters = itk.ParameterObject.New()
    settings = parameters.GetDefaultParameterMap("rigid", len(LEVELS_MM))
    for name, value in SETTINGS.items():
        settings[name] = (value,)
    for name, image in (("Fixed", fixed), ("Moving", moving)):
        factors = [max(1, round(level / spacing)) for level in LEVELS_MM for spacing in image.GetSpacing()]
        settings[f"{name}ImagePyramidSchedule"] = tuple(map(str, factors))
    parameters.AddParameterMap(settings)
    return parameters


def _to_sitk(composed: Any, centre: tuple[float, ...]) -> sitk.Euler3DTransform:
    """A composition of rigid transforms as one."""
    matrix, _ = affine(composed)
    left, _, right = np.linalg.svd(matrix)  # the nearest rotation: ITK refuses one with rounding errors
    result = sitk.Euler3DTransform()
    result.SetCenter(centre)
    result.SetMatrix((left @ right).ravel().tolist())
    result.SetTranslation(np.subtract(composed.TransformPoint(centre), centre).tolist())
    return result
