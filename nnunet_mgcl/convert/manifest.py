"""The manifest: one row a patient, one column a channel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ManifestRow:
    """One case, as the user describes it.

    Attributes:
        case: A valid name of an nnU-Net case.
        channels: Channel -> source: the absolute path of a file or a DICOM folder, or "folder#SeriesInstanceUID".
            Channels that the case lacks are absent.
        masks: "" (one mask for all) or modality -> path; None where somebody looked and nothing was visible (a cell
            `empty`). Masks that the case lacks are absent.
        tss_hours: Time since onset in hours, where known.
        patient: Groups the cases of one patient.
        where: "manifest.csv, line 3", for messages.
    """

    case: str
    channels: dict[str, str]
    masks: dict[str, str | None]
    tss_hours: float | None
    patient: str | None
    where: str


@dataclass(frozen=True)
class Manifest:
    """All cases.

    Attributes:
        where: The file or folder that it was read from.
        channels: In the order of the columns, which is that of the channel numbers.
        masks: (), ("",) or the modalities with a mask of their own.
        rows: The cases.
    """

    where: Path
    channels: tuple[str, ...]
    masks: tuple[str, ...]
    rows: tuple[ManifestRow, ...]
