"""Rigid registration by elastix, as in the paper; needs the package itk-elastix."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import SimpleITK as sitk

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
    itk = _itk()
    method = itk.ElastixRegistrationMethod.New(_to_itk(itk, fixed), _to_itk(itk, moving))
    method.SetFixedMask(_mask_to_itk(itk, fixed))
    method.SetParameterObject(_parameters(itk, fixed, moving))
    method.SetExternalInitialTransform(_rigid(itk.Euler3DTransform[itk.D].New(), start))
    method.SetNumberOfThreads(1)  # sums in another order would give other last digits
    method.SetLogToConsole(False)
    method.SetLogToFile(False)
    try:
        method.UpdateLargestPossibleRegion()
    except RuntimeError as error:
        remedy = "look at both scans in a viewer, or use --engine sitk"
        raise UserError("elastix", f"gave up: {reason(error)}", "two scans of one head that overlap", remedy) from None
    return _to_sitk(method.GetCombinationTransform(), start.GetCenter())


def require_elastix() -> None:
    """Ends the program where the package is missing, before any work.

    Raises:
        UserError: It is.
    """
    _itk()


def _itk() -> ModuleType:
    try:
        import itk

        itk.ElastixRegistrationMethod  # noqa: B018  (itk without elastix has no such name)
    except (ImportError, AttributeError):
        remedy = 'pip install "nnunet_mgcl[elastix]", or use --engine sitk'
        raise UserError("--engine elastix", "itk-elastix is not installed", "the package itk-elastix", remedy) from None
    return itk


def _mask_to_itk(itk: ModuleType, image: sitk.Image) -> Any:
    return _placed(itk, itk.image_from_array(head_mask(image).astype(np.uint8)), image)


def _to_itk(itk: ModuleType, image: sitk.Image) -> Any:
    return _placed(itk, itk.image_from_array(sitk.GetArrayFromImage(image)), image)


def _placed(itk: ModuleType, copy: Any, image: sitk.Image) -> Any:
    copy.SetSpacing(image.GetSpacing())
    copy.SetOrigin(image.GetOrigin())
    copy.SetDirection(itk.matrix_from_array(np.array(image.GetDirection()).reshape(3, 3)))
    return copy


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


def _rigid(transform: Any, like: Any) -> Any:
    """Sets an Euler transform (of either library) to another one's motion."""
    transform.SetCenter(like.GetCenter())
    transform.SetRotation(like.GetAngleX(), like.GetAngleY(), like.GetAngleZ())
    transform.SetTranslation(like.GetTranslation())
    return transform


def _to_sitk(transform: Any, centre: tuple[float, ...]) -> sitk.Euler3DTransform:
    """A composition of rigid transforms as one, known by what it does to the centre and to three points around it."""
    moved = np.array(transform.TransformPoint(centre))
    columns = [np.array(transform.TransformPoint((np.array(centre) + axis).tolist())) - moved for axis in np.eye(3)]
    left, _, right = np.linalg.svd(np.array(columns).T)  # the nearest rotation: ITK refuses one with rounding errors
    result = sitk.Euler3DTransform()
    result.SetCenter(centre)
    result.SetMatrix((left @ right).ravel().tolist())
    result.SetTranslation((moved - centre).tolist())
    return result
