"""Brings the channels of a case onto one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    images: dict[str, sitk.Image] = field(default_factory=dict)
    transforms: dict[str, sitk.Transform] = field(default_factory=dict)
    registrations: dict[str, RegistrationRecord] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


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
    aligned = Aligned(common_grid(scans[reference], settings.spacing))
    for channel in sorted(group, key=lambda c: leader(c, group) != c):  # leaders first: the others move with them
        mover = _mover(channel, reference, scans, group)
        if settings.reference is None or mover == reference:
            aligned.transforms[channel] = sitk.Transform(3, sitk.sitkIdentity)
        elif mover == channel:
            _register(channel, reference, scans, settings, aligned)
            if (first := leader(channel, group)) != channel:
                aligned.notes[channel] = f"not on the grid of {first}: registered by itself"
        else:
            aligned.transforms[channel] = aligned.transforms[mover]
            aligned.notes[channel] = f"moved with {mover}"
    for channel in group:
        transform, interpolation = aligned.transforms[channel], settings.interpolation
        image = resample(scans[channel], aligned.grid, transform, interpolation=interpolation)
        if np.ptp(sitk.GetArrayViewFromImage(image)) == 0:
            found = f"nothing of it lies in the field of view of {reference}"
            remedy = f"look at both scans in a viewer; --reference {reference} registers, --reference none does not"
            raise UserError(channel, found, "two scans of one head that overlap", remedy)
        aligned.images[channel] = image
    return aligned


def _mover(channel: str, reference: str, scans: dict[str, sitk.Image], group: Sequence[str]) -> str:
    """The channel whose registration moves this one: of the same acquisition, and on the same grid."""
    first = leader(channel, group)
    for candidate in (reference, first):
        if leader(candidate, group) == first and same_grid(scans[channel], scans[candidate]):
            return candidate
    return channel


def _register(channel: str, reference: str, scans: dict[str, sitk.Image], settings: Settings, aligned: Aligned) -> None:
    result = register(scans[reference], scans[channel], engine=settings.engine)
    aligned.transforms[channel] = result.transform
    aligned.registrations[channel] = RegistrationRecord(
        reference, settings.engine, result.before, result.after, result.shift_mm, result.rotation_deg
    )
    limits = {"max_shift": settings.max_shift, "max_rotation": settings.max_rotation}
    aligned.doubts.extend(f"{channel} to {reference}: {doubt}" for doubt in doubts(result, **limits))
