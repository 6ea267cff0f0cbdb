"""Brings the channels of a case onto one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.convert.manifest.channels import leader
from nnunet_mgcl.convert.output.record import RegistrationRecord
from nnunet_mgcl.convert.registration.grid import Grid, common_grid, resample, same_grid
from nnunet_mgcl.convert.registration.rigid import doubts, register
from nnunet_mgcl.convert.settings import Settings
from nnunet_mgcl.system.errors import UserError


@dataclass(frozen=True)
class Aligned:
    """Channels on one grid.

    Attributes:
        grid: That grid.
        images: Channel -> its image there.
        transforms: Channel -> from the grid's space to that of the channel's scan.
        registrations: Those channels that were registered.
        notes: Channel -> what was decided about it.
        doubts: About the registrations.
    """

    grid: Grid
    images: dict[str, sitk.Image]
    transforms: dict[str, sitk.Transform]
    registrations: dict[str, RegistrationRecord]
    notes: dict[str, str]
    doubts: list[str]


def align(scans: dict[str, sitk.Image], group: Sequence[str], settings: Settings) -> Aligned:
    """Registers and resamples channels.

    Channels of one acquisition (`leader`) move together where they share a grid.

    Args:
        scans: The scans as they were read, those of `group` among them.
        group: The channels; all others are brought to the first one's grid.
        settings: How.

    Raises:
        UserError: A channel shows nothing of what the first one shows.
    """
    reference = group[0]
    found = Aligned(common_grid(scans[reference], settings.spacing), {}, {}, {}, {}, [])
    identity = sitk.Transform(3, sitk.sitkIdentity)
    for channel in sorted(group, key=lambda c: leader(c, group) != c):  # leaders first: the others move with them
        mover = _mover(channel, reference, scans, group)
        if settings.reference is None or mover == reference:
            found.transforms[channel] = identity
        elif mover == channel:
            found.transforms[channel] = _registered(channel, reference, scans, settings, found)
            if (own := leader(channel, group)) != channel:
                found.notes[channel] = f"not on the grid of {own}: registered by itself"
        else:
            found.transforms[channel] = found.transforms[mover]
            found.notes[channel] = f"moved with {mover}"
    for channel in group:
        found.images[channel] = _resampled(channel, reference, scans[channel], settings, found)
    return found


def _mover(channel: str, reference: str, scans: dict[str, sitk.Image], group: Sequence[str]) -> str:
    """The channel whose registration moves this one: of the same acquisition, and on the same grid."""
    own = leader(channel, group)
    for candidate in (reference, own):
        if leader(candidate, group) == own and same_grid(scans[channel], scans[candidate]):
            return candidate
    return channel


def _registered(
    channel: str, reference: str, scans: dict[str, sitk.Image], settings: Settings, found: Aligned
) -> sitk.Transform:
    result = register(scans[reference], scans[channel], engine=settings.engine)
    motion = result.motion
    found.registrations[channel] = RegistrationRecord(
        reference, result.engine, result.before, result.after, motion.shift_mm, motion.rotation_deg
    )
    limits = {"max_shift": settings.max_shift, "max_rotation": settings.max_rotation}
    found.doubts.extend(f"{channel} to {reference}: {doubt}" for doubt in doubts(result, **limits))
    return result.transform


def _resampled(channel: str, reference: str, scan: sitk.Image, settings: Settings, found: Aligned) -> sitk.Image:
    image = resample(scan, found.grid, found.transforms[channel], interpolation=settings.interpolation)
    values = sitk.GetArrayViewFromImage(image)
    if np.ptp(values) == 0:
        remedy = f"look at both scans in a viewer; --reference {reference} registers, --reference none does not"
        expected = "two scans of one head that overlap"
        raise UserError(channel, f"nothing of it lies in the field of view of {reference}", expected, remedy)
    return image
