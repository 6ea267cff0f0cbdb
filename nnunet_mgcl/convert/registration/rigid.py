"""Rigid registration of one scan of a head to another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.convert.registration import engine_elastix, engine_sitk
from nnunet_mgcl.convert.registration.grid import Grid, common_grid, resample
from nnunet_mgcl.convert.registration.mutual_information import MutualInformation
from nnunet_mgcl.data.images.head import bright
from nnunet_mgcl.system.errors import UserError

Engine = Literal["sitk", "elastix"]
ENGINES = {"sitk": engine_sitk.align, "elastix": engine_elastix.align}
COARSE_MM, FINE_MM = 6.0, 2.0
"""Voxels that the search for a start and the measure look at (no axis gets finer than the scan)."""
CLIPPED = (0.5, 99.5)
"""Percentiles between which intensities count: a few bright voxels would use up the histogram's bins."""
FEWEST = 4
"""Voxels along an axis that ITK's filters need."""
SAME_MM, SAME_DEG = 1.0, 0.5
"""Within what the search finds a pose again: a worse one so close to the headers' is the same within its noise."""
ABOVE_CHANCE = 2.0
"""Times the measure of scans without anything in common: below it, nobody can tell whether they fit."""


@dataclass(frozen=True)
class Registration:
    """A pose and how well it fits.

    Attributes:
        transform: From the fixed scan's space to the moving one's, as `sitk.Resample` wants it; the headers' own where
            the scans fit worse after the search.
        before: The `MutualInformation` of the scans where their headers put them.
        after: The same at the pose found.
        shift_mm: How far the centre of the fixed scan's head was moved against what the headers say.
        rotation_deg: By how much it was turned, about whichever axis.
        chance: The mutual information at the pose found, of scans without anything in common.
    """

    transform: sitk.Euler3DTransform
    before: float
    after: float
    shift_mm: float
    rotation_deg: float
    chance: float = 0.0


def register(fixed: sitk.Image, moving: sitk.Image, *, engine: Engine) -> Registration:
    """Finds the rigid motion that brings a scan onto another; the same scans always give the same motion.

    Three starts (as the headers say, middle on middle, head on head) are optimised on coarse voxels; the engine
    refines the best of them.

    Args:
        fixed: 3D scan that stays.
        moving: 3D scan of the same head, of any contrast, on any grid.
        engine: Who refines.

    Raises:
        UserError: elastix is not installed, or a scan is too small or too empty to be registered.
    """
    align = ENGINES[engine]
    for image in (fixed, moving):
        _check(image)
    fine = _simplify(fixed, FINE_MM), _simplify(moving, FINE_MM)
    measure = MutualInformation(*fine)
    start = _best_start(_simplify(fixed, COARSE_MM), _simplify(moving, COARSE_MM))
    transform = align(*fine, start)
    before, after, chance = measure(sitk.Euler3DTransform()), measure(transform), measure(transform, shuffled=True)
    shift, rotation = motion(transform, _head_centre(fine[0]))
    if after < before:
        if shift < SAME_MM and rotation < SAME_DEG:
            after = before
        transform, shift, rotation = sitk.Euler3DTransform(), 0.0, 0.0
    return Registration(transform, before, after, shift, rotation, chance)


def doubts(registration: Registration, *, max_shift: float, max_rotation: float) -> list[str]:
    """Why a person should look at a registration; empty where nothing speaks against it.

    Args:
        registration: What was found.
        max_shift: mm.
        max_rotation: Degrees.
    """
    before, after, chance = registration.before, registration.after, registration.chance
    reasons = []
    if after < before:
        numbers = f"(mutual information {before:.3f} to {after:.3f})"
        reasons.append(f"the search found no better place {numbers}: left where the headers put it")
    if after < ABOVE_CHANCE * chance:
        numbers = f"(mutual information {after:.3f}, by chance {chance:.3f})"
        reasons.append(f"the scans have hardly anything in common {numbers}")
    if registration.shift_mm > max_shift:
        reasons.append(f"moved by {registration.shift_mm:.1f} mm (at most {max_shift:g} expected)")
    if registration.rotation_deg > max_rotation:
        reasons.append(f"rotated by {registration.rotation_deg:.1f} degrees (at most {max_rotation:g} expected)")
    return reasons


def motion(transform: sitk.Euler3DTransform, centre: np.ndarray) -> tuple[float, float]:
    """How far (mm) a rigid transform moves a point `(3,)`, and by how much it turns (degrees, about one axis)."""
    cosine = (np.trace(np.reshape(transform.GetMatrix(), (3, 3))) - 1) / 2
    shift = np.array(transform.TransformPoint(centre.tolist())) - centre
    return float(np.linalg.norm(shift)), math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))


def _check(image: sitk.Image) -> None:
    low, high = np.percentile(sitk.GetArrayViewFromImage(image), CLIPPED)
    if low == high:
        found = f"{CLIPPED[1] - CLIPPED[0]:.0f} % of its voxels are {low:g}"
        raise UserError("registration", found, "a scan of a head", "look at the scan in a viewer")
    if min(image.GetSize()) < FEWEST:
        found = f"a scan of {' x '.join(map(str, image.GetSize()))} voxels"
        remedy = "leave this scan out, or --reference none where the scans are registered already"
        raise UserError("registration", found, f"at least {FEWEST} voxels along every axis", remedy)


def _simplify(image: sitk.Image, spacing: float) -> sitk.Image:
    """The image without outliers, on voxels of `spacing` mm where its own are finer."""
    low, high = np.percentile(sitk.GetArrayViewFromImage(image), CLIPPED).tolist()
    clipped = sitk.Clamp(sitk.Cast(image, sitk.sitkFloat32), sitk.sitkFloat32, low, high)
    edges = np.array(image.GetSpacing())
    x, y, z = np.minimum(np.maximum(edges, spacing), edges * image.GetSize() / FEWEST).tolist()
    identity = sitk.Transform(3, sitk.sitkIdentity)
    return resample(clipped, common_grid(image, (x, y, z)), identity, interpolation="linear")


def _starts(fixed: sitk.Image, moving: sitk.Image) -> Iterator[sitk.Euler3DTransform]:
    """Shifts without rotation: as the headers say, middle on middle, head on head."""
    head = _head_centre(fixed)
    middle = Grid.of(moving).centre - Grid.of(fixed).centre
    for shift in (np.zeros(3), middle, _head_centre(moving) - head):
        start = sitk.Euler3DTransform()
        start.SetCenter(head.tolist())
        start.SetTranslation(shift.tolist())
        yield start


def _head_centre(image: sitk.Image) -> np.ndarray:
    """`(3,)` mm: the mean place of the voxels that are brighter than the mean."""
    return Grid.of(image).point(np.argwhere(bright(image))[:, ::-1].mean(axis=0))


def _best_start(fixed: sitk.Image, moving: sitk.Image) -> sitk.Euler3DTransform:
    measure = MutualInformation(fixed, moving)
    poses = [engine_sitk.search(fixed, moving, start) for start in _starts(fixed, moving)]
    best = max((pose for pose in poses if pose is not None), key=measure, default=None)
    if best is None:
        found = "no place at which the scans overlap and explain each other"
        raise UserError("registration", found, "two scans of one head", "look at both scans in a viewer")
    return best
