"""Rigid registration by SimpleITK: Mattes' mutual information, gradient descent from coarse to fine."""

from __future__ import annotations

import SimpleITK as sitk

BINS = 32
SEED = 1
SAMPLES = 50_000


def align(fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    """Refines a pose.

    Args:
        fixed: 3D, float32.
        moving: 3D, float32.
        start: From the fixed scan's space to the moving one's; close already.
    """
    return start if (found := _descend(fixed, moving, start, step=1.0, smoothing=0.0)) is None else found


def search(fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform | None:
    """Looks for a pose from far away, on coarse scans; None where the scans do not overlap there."""
    return _descend(fixed, moving, start, step=4.0, smoothing=4.0)


def _descend(
    fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform, *, step: float, smoothing: float
) -> sitk.Euler3DTransform | None:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # sums in another order would give other last digits
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)  # off the voxels' centres, where nothing would be interpolated
    method.SetMetricSamplingPercentage(min(1.0, SAMPLES / fixed.GetNumberOfPixels()), SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([smoothing])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(step, minStep=0.01, numberOfIterations=200, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    pose = sitk.Euler3DTransform(start)
    method.SetInitialTransform(pose, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # no overlap
        return None
    return pose
