"""Converts one case, in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from nnunet_mgcl.convert.manifest.channels import is_adc
from nnunet_mgcl.convert.manifest.table import ManifestRow
from nnunet_mgcl.convert.masks import join_masks
from nnunet_mgcl.convert.output import case_files
from nnunet_mgcl.convert.output.record import CaseRecord, ChannelRecord, Destination
from nnunet_mgcl.convert.quality.picture import draw_case
from nnunet_mgcl.convert.registration.alignment import Aligned, align
from nnunet_mgcl.convert.scans.reader import read_scan
from nnunet_mgcl.convert.settings import Settings
from nnunet_mgcl.data.images.adc_units import check_unit, to_common_unit
from nnunet_mgcl.data.images.bit_mask import decode
from nnunet_mgcl.data.images.voxel_hashes import voxel_hashes
from nnunet_mgcl.system.errors import UserError, reason


@dataclass(frozen=True)
class Job:
    """A case to convert.

    Attributes:
        dataset: The dataset's folder.
        row: The case in the manifest.
        destination: Where it goes.
        settings: How it is converted.
        fingerprint: Of its sources and settings.
        accepted: Whether somebody has looked at the registration and found it good.
    """

    dataset: Path
    row: ManifestRow
    destination: Destination
    settings: Settings
    fingerprint: str
    accepted: bool


def convert_case(job: Job) -> CaseRecord | UserError:
    """Converts a case and puts it into the dataset.

    Returns:
        What happened, or why it could not be converted (an older version of the case is the caller's to remove): an
        error is a value here, since a worker process must not end.
    """
    try:
        return _convert(job)
    except UserError as error:
        return error
    except Exception as error:  # ITK's many kinds: one case must not stop the others
        found = f"cannot be converted ({type(error).__name__}: {reason(error)})"
        return UserError(f"case {job.row.case}", found, "scans that ITK can work with", "look at the case's files")


def _convert(job: Job) -> CaseRecord:
    settings, row = job.settings, job.row
    scans, notes = _read(row, settings)
    groups = [align(scans, group, settings) for group in settings.groups(row, job.destination)]
    images = {channel: group.images[channel] for group in groups for channel in group.images}
    doubts = [doubt for group in groups for doubt in group.doubts]
    label_map, volumes = None, dict[str, float]()
    if row.masks:
        label_map, volumes, more = join_masks(row, scans, groups[0], settings)
        doubts += more
    first = next(channel for channel in settings.channels if channel in images)
    record = CaseRecord(
        case=row.case,
        destination=job.destination,
        fingerprint=job.fingerprint,
        channels={c: _channel(c, scans[c], notes[c], groups) for c in settings.channels if c in scans},
        size=images[first].GetSize(),
        spacing=images[first].GetSpacing(),
        lesion_ml=volumes,
        tss_hours=row.tss_hours,
        patient=row.patient,
        doubts=tuple(doubts),
        accepted=job.accepted,
    )
    _draw(job, images, label_map)
    return case_files.place(
        job.dataset, record, {} if record.held_back else _named(record, images, label_map, settings)
    )


def _read(row: ManifestRow, settings: Settings) -> tuple[dict[str, sitk.Image], dict[str, list[str]]]:
    """The scans in common units, and notes about them."""
    scans, notes = {}, {}
    for channel, source in row.channels.items():
        with row.reading(channel):
            scans[channel], notes[channel] = read_scan(source, channel=channel, dwi_volume=settings.dwi_volume)
            if is_adc(channel):
                told = row.adc_unit or settings.adc_unit
                check_unit(scans[channel], told)
                scans[channel], unit = to_common_unit(scans[channel], told)
                notes[channel].append(unit)
    return scans, notes


def _channel(channel: str, scan: sitk.Image, notes: list[str], groups: list[Aligned]) -> ChannelRecord:
    group = next(group for group in groups if channel in group.images)
    more = [group.notes[channel]] if channel in group.notes else []
    (voxels,) = voxel_hashes(sitk.GetArrayViewFromImage(scan)[None])
    return ChannelRecord(scan.GetSize(), scan.GetSpacing(), (*notes, *more), group.registrations.get(channel), voxels)


def _named(
    record: CaseRecord, images: dict[str, sitk.Image], label_map: sitk.Image | None, settings: Settings
) -> dict[str, sitk.Image]:
    """Name in the dataset -> image."""
    numbers = {channel: number for number, channel in enumerate(settings.channels)}
    named = {case_files.image_name(record.case, numbers[c], record.destination): image for c, image in images.items()}
    if label_map is not None:
        named[case_files.label_name(record.case, record.destination)] = label_map
    return named


def _draw(job: Job, images: dict[str, sitk.Image], label_map: sitk.Image | None) -> None:
    masks = _drawn_masks(label_map, job.settings)
    reference = job.settings.reference if job.destination != "Un" else None
    path = case_files.picture_path(job.dataset, job.row.case)
    draw_case(path, images, masks, reference=reference, title=job.row.case)


def _drawn_masks(label_map: sitk.Image | None, settings: Settings) -> dict[str, sitk.Image]:
    """One mask a modality, or the whole label map."""
    if label_map is None:
        return {}
    if settings.masks == ("",):
        return {"": label_map}
    masks = {}
    for modality, mask in decode(sitk.GetArrayViewFromImage(label_map), settings.masks).items():
        masks[modality] = sitk.GetImageFromArray(mask.astype("uint8"))
        masks[modality].CopyInformation(label_map)
    return masks
