"""What happened to a case, as a JSON file beside its picture. It names no source: a path may hold a patient's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Destination = Literal["Tr", "Un", "Ts"]
"""Labelled training case, pool, test case: the end of nnU-Net's folder names."""


@dataclass(frozen=True)
class RegistrationRecord:
    """A rigid registration in numbers.

    Attributes:
        to: The channel that it was registered to.
        engine: `sitk` or `elastix`.
        before: Mutual information as the headers have it; higher is better.
        after: The same after the registration.
        shift_mm: How far the head's centre moved.
        rotation_deg: By how much it turned.
    """

    to: str
    engine: str
    before: float
    after: float
    shift_mm: float
    rotation_deg: float


@dataclass(frozen=True)
class ChannelRecord:
    """One channel of a case.

    Attributes:
        size: Voxels of the scan as it was read, `(x, y, z)`.
        spacing: Their size in mm.
        notes: What was decided or found: the unit of an ADC map, the volume taken.
        registration: None where the scan was not registered, or moved with another channel (a note says which).
        voxels: SHA-256 of the scan's shape and values, by which it is found in two cases; "" in earlier records.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    notes: tuple[str, ...] = ()
    registration: RegistrationRecord | None = None
    voxels: str = ""


@dataclass(frozen=True)
class CaseRecord:
    """One case.

    Attributes:
        case: Its name.
        destination: Where it goes.
        fingerprint: SHA-256 of the sources' paths, sizes and times and of the options; "" while it is being written.
        files: The files of the case in the dataset's folder -> size and time of change, "" while it is being written.
        channels: Channel -> what happened to it.
        missing: Modalities that a labelled case lacks: empty images stand in for their channels.
        size: Voxels of the first channel as written, `(x, y, z)`.
        spacing: Their size in mm.
        lesion_ml: Volume of each label, or of each modality's mask; empty without a mask.
        tss_hours: Time since onset, where known.
        patient: As in the manifest.
        doubts: Why a person has to look at the registration before the case may be used.
        poor_fits: More reasons, in comparison with the other cases: they change with these.
        accepted: Whether one has, and found it good.
    """

    case: str
    destination: Destination
    fingerprint: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, ChannelRecord] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    size: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    lesion_ml: Mapping[str, float] = field(default_factory=dict)
    tss_hours: float | None = None
    patient: str | None = None
    doubts: tuple[str, ...] = ()
    poor_fits: tuple[str, ...] = ()
    accepted: bool = False

    @property
    def all_doubts(self) -> tuple[str, ...]:
        """Its own and those in comparison."""
        return self.doubts + self.poor_fits

    @property
    def held_back(self) -> bool:
        """Whether it stays out of the dataset until somebody has looked at it."""
        return bool(self.all_doubts) and not self.accepted
