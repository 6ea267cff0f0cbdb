"""Converts cases, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.convert.manifest.channels import is_adc
from nnunet_mgcl.convert.manifest.table import MASK_PREFIX, ManifestRow
from nnunet_mgcl.convert.masks import label_map, lesion_ml, owners, read_masks
from nnunet_mgcl.convert.output import case_files
from nnunet_mgcl.convert.output.record import CaseRecord, ChannelRecord, Destination
from nnunet_mgcl.convert.quality.picture import draw_case
from nnunet_mgcl.convert.registration.alignment import Aligned, align
from nnunet_mgcl.convert.registration.grid import Grid
from nnunet_mgcl.convert.scans.reader import read_grid, read_scan
from nnunet_mgcl.convert.settings import Settings
from nnunet_mgcl.data.images.adc_units import to_common_unit
from nnunet_mgcl.data.images.voxel_hashes import voxel_hashes
from nnunet_mgcl.system.errors import UserError, reason
from nnunet_mgcl.system.workers import submitted

Result = tuple[str, Future[CaseRecord]]
"""Name of a case, and what came of it."""


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


def check_headers(row: ManifestRow, settings: Settings) -> None:
    """Refuses what the headers of a case's files tell before any voxel is read, so that nobody waits for it.

    Raises:
        UserError: Of the first scan that is no single 3D image, or mask that lies on the grid of none of its scans.
    """
    grids: dict[str, Grid | None] = {}
    for column, source in row.sources.items():
        with row.reading(column):
            grids[column] = read_grid(source, channel=column, dwi_volume=settings.dwi_volume)
            if column in row.channels or (mask := grids[column]) is None:
                continue
            channels = settings.modalities.get(column.removeprefix(MASK_PREFIX), tuple(row.channels))
            scans = {channel: grid for channel in channels if (grid := grids[channel]) is not None}
            if len(scans) == len(channels):
                owners(mask, source, scans)


def convert_cases(jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """Yields each case's name and what came of it, as they are done.

    A worker that is killed, as the system does when the memory is full, takes its pool with it: the cases that were
    not done are then done one at a time, which tells the case it dies of from the others.
    """
    waiting = list(jobs)
    while waiting:
        left = []
        with submitted(convert_case, waiting, processes) as futures:
            for future in as_completed(futures):
                if isinstance(future.exception(), BrokenProcessPool):
                    left.append(futures[future])
                else:
                    yield futures[future].row.case, future
        waiting = [job for job in waiting if job in left]
        if waiting and processes == 1:
            case, killed = waiting.pop(0).row.case, Future[CaseRecord]()
            found = "its process was killed: perhaps the memory was full"
            killed.set_exception(
                UserError(f"case {case}", found, "memory for it", "free some, or use a larger machine")
            )
            yield case, killed
        processes = 1


def convert_case(job: Job) -> CaseRecord:
    """Converts a case and puts it into the dataset.

    Returns:
        What happened.

    Raises:
        UserError: It could not be converted; an older version of the case is the caller's to remove.
    """
    try:
        return _convert(job)
    except UserError:
        raise
    except Exception as error:  # ITK's many kinds: one case must not stop the others
        found = f"cannot be converted ({type(error).__name__}: {reason(error)})"
        remedy = "look at the case's files"
        raise UserError(f"case {job.row.case}", found, "scans that ITK can work with", remedy) from None


def _convert(job: Job) -> CaseRecord:
    settings, row = job.settings, job.row
    scans, notes = _read(row, settings)
    groups = [align(scans, group, settings) for group in settings.groups(row, job.destination)]
    images = {channel: image for group in groups for channel, image in group.images.items()}
    masks, doubts = read_masks(row, scans, groups[0], settings)
    first = next(images[channel] for channel in settings.channels if channel in images)
    record = CaseRecord(
        case=row.case, destination=job.destination, fingerprint=job.fingerprint,
        channels={c: _channel(c, scans[c], notes[c], groups) for c in settings.channels if c in scans},
        missing=settings.missing(row, job.destination),
        size=first.GetSize(), spacing=first.GetSpacing(), lesion_ml=lesion_ml(masks, settings),
        tss_hours=row.tss_hours, patient=row.patient,
        doubts=(*(doubt for group in groups for doubt in group.doubts), *doubts), accepted=job.accepted,
    )  # fmt: skip
    picture = case_files.picture_path(job.dataset, row.case)
    reference = settings.reference if job.destination != "Un" else None
    draw_case(picture, images, masks, reference=reference, title=row.case)
    if record.held_back:
        return case_files.place(job.dataset, record, {})
    grid = groups[0].grid
    numbered = {settings.channels.index(channel): image for channel, image in images.items()}
    for number in settings.stand_ins(row, job.destination):
        numbered[number] = grid.image(np.zeros(grid.size[::-1], np.uint8))
    folder, ending = f"images{job.destination}", case_files.FILE_ENDING
    files = {f"{folder}/{row.case}_{number:04d}{ending}": image for number, image in numbered.items()}
    if masks:
        files[f"labels{job.destination}/{row.case}{ending}"] = label_map(masks, settings)
    return case_files.place(job.dataset, record, files)


def _read(row: ManifestRow, settings: Settings) -> tuple[dict[str, sitk.Image], dict[str, list[str]]]:
    """The scans in common units, and notes about them."""
    scans, notes = {}, {}
    for channel, source in row.channels.items():
        with row.reading(channel):
            scans[channel], notes[channel] = read_scan(source, channel=channel, dwi_volume=settings.dwi_volume)
            if is_adc(channel):
                scans[channel], unit = to_common_unit(scans[channel], row.adc_unit or settings.adc_unit)
                notes[channel].append(unit)
    return scans, notes


def _channel(channel: str, scan: sitk.Image, notes: list[str], groups: list[Aligned]) -> ChannelRecord:
    group = next(group for group in groups if channel in group.images)
    more = [group.notes[channel]] if channel in group.notes else []
    (voxels,) = voxel_hashes(sitk.GetArrayViewFromImage(scan)[None])
    return ChannelRecord(scan.GetSize(), scan.GetSpacing(), (*notes, *more), group.registrations.get(channel), voxels)
