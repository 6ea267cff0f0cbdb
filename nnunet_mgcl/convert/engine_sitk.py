"""Rigid registration by SimpleITK: Mattes' mutual information, descent on coarse scans, line searches on fine ones."""

from __future__ import annotations

from collections.abc import Callable

import SimpleITK as sitk

from nnunet_mgcl.errors import UserError

BINS = 32
SEED = 1
SAMPLES = 60_000
"""Voxels that the measure looks at; with a third of them the pose found is off by half a millimetre more."""
SEARCH_BLUR_MM = 4.0

Optimizer = Callable[[sitk.ImageRegistrationMethod], None]


def align(fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    """Refines a pose.

    Powell's line searches end closer to the optimum than a descent, whose gradient is an approximation, but now and
    then in a side valley: they are run from the start and from where a descent ends, and the better end is taken.

    Args:
        fixed: 3D, float32.
        moving: 3D, float32.
        start: From the fixed scan's space to the moving one's; close already.

    Raises:
        UserError: The scans do not overlap there.
    """
    descended = _optimise(fixed, moving, start, _descent(1.0))
    starts = [start] if descended is None else [start, descended[1]]
    ends = [_optimise(fixed, moving, pose, _line_searches) for pose in starts]
    found = [end for end in ends if end is not None]
    if not found:
        remedy = "look at both scans in a viewer, or use --engine elastix"
        raise UserError("registration", "the scans do not overlap enough", "two scans of one head", remedy)
    return min(found, key=lambda end: end[0])[1]


def search(fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform | None:
    """Looks for a pose from far away, on coarse scans; None where the scans do not overlap there."""
    found = _optimise(fixed, moving, start, _descent(4.0), SEARCH_BLUR_MM)
    return None if found is None else found[1]


def _descent(step: float) -> Optimizer:
    def choose(method: sitk.ImageRegistrationMethod) -> None:
        method.SetOptimizerAsRegularStepGradientDescent(
            step, minStep=0.01, numberOfIterations=200, relaxationFactor=0.6
        )

    return choose


def _line_searches(method: sitk.ImageRegistrationMethod) -> None:
    method.SetOptimizerAsPowell(20, 100, stepLength=1.0, stepTolerance=0.005, valueTolerance=1e-5)


def _optimise(
    fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform, optimizer: Optimizer, blur: float = 0.0
) -> tuple[float, sitk.Euler3DTransform] | None:
    """The negative mutual information and the pose at the end; None where the scans do not overlap."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # sums in another order would give other last digits
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)  # off the voxels' centres, where nothing would be interpolated
    method.SetMetricSamplingPercentage(min(1.0, SAMPLES / fixed.GetNumberOfPixels()), SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([blur])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    optimizer(method)
    method.SetOptimizerScalesFromPhysicalShift()
    pose = sitk.Euler3DTransform(start)
    method.SetInitialTransform(pose, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:
        return None
    return method.GetMetricValue(), pose
