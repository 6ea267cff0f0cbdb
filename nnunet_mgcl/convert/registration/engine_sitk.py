"""Rigid registration by SimpleITK: Mattes' mutual information, descent on coarse scans, line searches on fine ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.convert.registration.grid import Grid
from nnunet_mgcl.data.images.head import head_mask
from nnunet_mgcl.system.errors import UserError

BINS = 32
SEED = 1
FEW, MANY = 20_000, 60_000
"""Voxels that the measure looks at on the way and at the end: few leave the pose off by half a millimetre more."""
SEARCH_BLUR_MM = 4.0

Optimizer = Callable[[sitk.ImageRegistrationMethod], None]
Scans = tuple[sitk.Image, sitk.Image, np.ndarray]
"""The fixed one, the moving one, and where the fixed one's head is, `(Z, Y, X)` bool."""


def align(fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    """Refines a pose.

    Powell's line searches end closer to the optimum than a descent, whose gradient is an approximation, but now and
    then in a side valley: they are run from the start and from where a descent ends, and go on from the better end.

    Args:
        fixed: 3D, float32.
        moving: 3D, float32.
        start: From the fixed scan's space to the moving one's; close already.

    Raises:
        UserError: The scans do not overlap there.
    """
    scans = fixed, moving, head_mask(fixed)
    descended = _optimise(scans, start, _descent(1.0), MANY)
    starts = [start] if descended is None else [start, descended[1]]
    ends = [_optimise(scans, pose, _line_searches, FEW) for pose in starts]
    best = min((end for end in ends if end is not None), key=lambda end: end[0], default=None)
    last = best and _optimise(scans, best[1], _line_searches, MANY)
    if last is None:
        remedy = "look at both scans in a viewer, or use --engine elastix"
        raise UserError("registration", "the scans do not overlap enough", "two scans of one head", remedy)
    return last[1]


def search(fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform | None:
    """Looks for a pose from far away, on coarse scans; None where the scans do not overlap there."""
    end = _optimise((fixed, moving, head_mask(fixed)), start, _descent(4.0), MANY, SEARCH_BLUR_MM)
    return end and end[1]


def _descent(step: float) -> Optimizer:
    options = {"minStep": 0.01, "numberOfIterations": 200, "relaxationFactor": 0.6}
    return lambda method: method.SetOptimizerAsRegularStepGradientDescent(step, **options)


def _line_searches(method: sitk.ImageRegistrationMethod) -> None:
    method.SetOptimizerAsPowell(20, 100, stepLength=1.0, stepTolerance=0.005, valueTolerance=1e-5)


def _optimise(
    scans: Scans, start: sitk.Euler3DTransform, optimizer: Optimizer, samples: int, blur: float = 0.0
) -> tuple[float, sitk.Euler3DTransform] | None:
    """The negative mutual information and the pose at the end; None where the scans do not overlap."""
    fixed, moving, head = scans
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)  # off the voxels' centres, where nothing would be interpolated
    method.SetMetricFixedMask(Grid.of(fixed).image(head.astype(np.uint8)))
    method.SetMetricSamplingPercentage(min(1.0, samples / head.sum()), SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([blur])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    optimizer(method)
    method.SetOptimizerScalesFromPhysicalShift()
    pose = sitk.Euler3DTransform(start)
    method.SetInitialTransform(pose, inPlace=True)
    try:
        with _quietly_on_one_thread():
            method.Execute(fixed, moving)
    except RuntimeError:
        return None
    return method.GetMetricValue(), pose


@contextmanager
def _quietly_on_one_thread() -> Iterator[None]:
    """Sums in another order would give other last digits; the method's own setting does not reach its measure."""
    threads, warns = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warns)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
