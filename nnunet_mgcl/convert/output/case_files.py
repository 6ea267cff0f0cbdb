"""The files of a case in the dataset's folder: they come and go so that a killed run leaves no half case unnoticed.

A record lists the files of its case. It is written before they appear and removed after they have gone, and it holds
its fingerprint only while all of them are there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import SimpleITK as sitk

from nnunet_mgcl.convert.output.record import CaseRecord
from nnunet_mgcl.data.images.files import write_image
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.system.typed_json import read_typed

FILE_ENDING = ".nii.gz"
CONVERT_FOLDER = "mgcl_convert"
"""What the conversion leaves beside nnU-Net's folders."""

FOLDERS = ("imagesTr", "labelsTr", "imagesTs", "labelsTs", "imagesUn")
"""The folders whose files belong to cases."""


def picture_path(dataset: Path, case: str) -> Path:
    """Where the picture of a case is."""
    return dataset / CONVERT_FOLDER / "cases" / f"{case}.png"


def read_records(dataset: Path) -> dict[str, CaseRecord]:
    """All records, by case.

    Raises:
        UserError: A file is none.
    """
    records = map(_read_record, sorted((dataset / CONVERT_FOLDER / "cases").glob("[!.]*.json")))
    return {record.case: record for record in records}


def write_record(dataset: Path, record: CaseRecord) -> None:
    """Writes a record atomically."""
    write_json(_record_path(dataset, record.case), asdict(record))


def is_whole(dataset: Path, record: CaseRecord) -> bool:
    """Whether every file of a case is as the conversion left it."""
    return bool(record.fingerprint) and all(_stamp(dataset / name) == stamp for name, stamp in record.files.items())


def place(dataset: Path, record: CaseRecord, images: Mapping[str, sitk.Image]) -> CaseRecord:
    """Puts a case into the dataset in place of its older version.

    Args:
        dataset: The dataset's folder.
        record: All about the case but its `files`.
        images: Name in the folder -> image.

    Returns:
        The record as it was written.
    """
    staging = dataset / CONVERT_FOLDER / "staging" / record.case
    for name, image in images.items():
        write_image(staging / name, image)
    _withdraw(dataset, record.case)
    write_record(dataset, replace(record, fingerprint="", files=dict.fromkeys(images, "")))
    for name in images:
        (dataset / name).parent.mkdir(exist_ok=True)
        os.replace(staging / name, dataset / name)
    whole = replace(record, files={name: _stamp(dataset / name) for name in images})
    write_record(dataset, whole)
    shutil.rmtree(staging, ignore_errors=True)
    return whole


def remove(dataset: Path, case: str) -> None:
    """Removes everything of a case."""
    _withdraw(dataset, case)
    picture_path(dataset, case).unlink(missing_ok=True)


def remove_unused(dataset: Path) -> None:
    """Removes a dataset that has no case: it would take its number for nothing."""
    if any((dataset / CONVERT_FOLDER / "cases").glob("*.json")) or unlisted_files(dataset, ()):
        return
    for name in ("dataset.json", "tss.csv", "tssTs.csv"):
        (dataset / name).unlink(missing_ok=True)
    shutil.rmtree(dataset / CONVERT_FOLDER, ignore_errors=True)
    for folder in (*(dataset / name for name in FOLDERS), dataset):
        with suppress(OSError):  # not there, or the user keeps something in it
            folder.rmdir()


def clear_staging(dataset: Path) -> None:
    """Removes what a killed run has left behind."""
    shutil.rmtree(dataset / CONVERT_FOLDER / "staging", ignore_errors=True)


def unlisted_files(dataset: Path, records: Iterable[CaseRecord]) -> list[Path]:
    """Files in the folders of images and labels that no record lists."""
    listed = {dataset / name for record in records for name in record.files}
    paths = (path for folder in FOLDERS for path in sorted((dataset / folder).glob("[!.]*")))
    return [path for path in paths if path not in listed]


def _record_path(dataset: Path, case: str) -> Path:
    return dataset / CONVERT_FOLDER / "cases" / f"{case}.json"


def _read_record(path: Path) -> CaseRecord:
    remedy = "remove it, and the files of this case in images* and labels*: it will be converted again"
    return read_typed(CaseRecord, path, remedy)


def _withdraw(dataset: Path, case: str) -> None:
    """Removes the files of a case and its record; leaves its picture."""
    path = _record_path(dataset, case)
    if path.exists():
        for name in _read_record(path).files:
            (dataset / name).unlink(missing_ok=True)
        path.unlink()


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} bytes, {status.st_mtime_ns} ns"
