"""The manifest: one row a patient, one column a channel."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from nnunet_mgcl.convert.manifest.channels import names_mask
from nnunet_mgcl.convert.manifest.onset import hours_between, hours_from
from nnunet_mgcl.convert.output.case_files import FILE_ENDING
from nnunet_mgcl.data.images.adc_units import UNITS
from nnunet_mgcl.data.images.files import check_stem
from nnunet_mgcl.system.csv_table import check_identifier, read_csv
from nnunet_mgcl.system.errors import UserError

RESERVED = ("case", "patient", "mask", "onset_time", "scan_time", "tss_hours", "adc_unit")
"""Columns that are no channel; those that begin with `MASK_PREFIX` are none either."""

MASK_PREFIX = "mask_"
EMPTY = "empty"
"""In a mask's cell: somebody has looked, and there is nothing to see."""

LONGEST_CASE = 100
"""Characters: file names end at 255, and nnU-Net and this program add to a case's name."""

_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CHANNEL = re.compile(r"[A-Za-z0-9_-]+")


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
        adc_unit: `auto` or a key of `adc_units.UNITS`; "" where the row tells none.
    """

    case: str
    channels: dict[str, str]
    masks: dict[str, str | None]
    tss_hours: float | None
    patient: str | None
    where: str
    adc_unit: str = ""

    @property
    def sources(self) -> dict[str, str]:
        """Column -> source of every scan and mask."""
        masks = {f"{MASK_PREFIX}{name}" if name else "mask": path for name, path in self.masks.items() if path}
        return self.channels | masks

    @contextmanager
    def reading(self, column: str) -> Iterator[None]:
        """Adds the cell that names the source to what is wrong with that.

        Raises:
            UserError: In place of one about the source.
        """
        source = self.sources[column]
        try:
            yield
        except UserError as error:
            file = error.where if error.where.startswith(source.partition("#")[0]) else source
            where = f"{self.where}, column {column}: {file}"
            raise UserError(where, error.found, error.expected, error.remedy) from None


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


def read_manifest(path: Path, log: Callable[[str], None] = print) -> Manifest:
    """Reads and checks a manifest. No scan is opened; that the files exist is checked.

    Args:
        path: The table. Its columns: `case`, `patient`, `mask` or `mask_<MODALITY>`, `tss_hours` or `onset_time` and
            `scan_time`, `adc_unit`, all of them optional; every other column is a channel.
        log: Is told what was decided for the user.

    Raises:
        UserError: Anything in it is wrong.
    """
    header, lines = read_csv(path, "the manifest")
    where = f"{path}, line 1"
    channels = tuple(column for column in header if column not in RESERVED and not column.startswith(MASK_PREFIX))
    masks = tuple("" if c == "mask" else c.removeprefix(MASK_PREFIX) for c in header if _is_mask(c))
    _check_channels(channels, where)
    _check_columns(header, masks, where)
    if not lines:
        raise UserError(path, "no row", "one row a patient", "add rows")
    names = _case_names(lines, log)
    rows = tuple(
        _row(case, values, channels, path.parent, line) for case, (line, values) in zip(names, lines, strict=True)
    )
    _check_twice(rows)
    return Manifest(path, channels, masks, rows)


def check_case_name(case: str, where: str) -> None:
    """Refuses what nnU-Net could not take for a case's name.

    Raises:
        UserError: It begins or ends badly, is too long, or has characters that are no part of a portable file name.
    """
    if not _CASE.fullmatch(case) or case.endswith("_seg") or len(case) > LONGEST_CASE:
        expected = f"up to {LONGEST_CASE} letters, digits, . _ and -, a letter or digit first, no _seg at the end"
        raise UserError(where, f"case {case!r}", expected, "rename the case")
    check_stem(case, FILE_ENDING, where)


def _is_mask(column: str) -> bool:
    return column == "mask" or column.startswith(MASK_PREFIX)


def _check_channels(channels: tuple[str, ...], where: str) -> None:
    for channel in channels:
        if names_mask(channel):
            remedy = "rename it to mask or mask_<MODALITY>, or remove it; where it is a scan, give it another name"
            raise UserError(where, f"column {channel!r}, which sounds like a mask", "a channel", remedy)
        if not _CHANNEL.fullmatch(channel):
            remedy = "rename or remove the column"
            raise UserError(where, f"column {channel!r}", "a channel of letters, digits, _ and -", remedy)
        close = get_close_matches(channel.lower(), RESERVED, n=1, cutoff=0.8)
        if close:
            remedy = f"did you mean {close[0]!r}? A channel of this name is not possible"
            raise UserError(where, f"column {channel!r}", f"a channel, or one of {RESERVED}", remedy)
    if not channels:
        raise UserError(where, "no column of a channel", "one column a channel, such as DWI", "add the scans")
    twice = {channel.lower() for channel in channels}
    if len(twice) < len(channels):
        raise UserError(where, f"channels {list(channels)}", "names that differ in more than case", "rename one")


def _check_columns(header: list[str], masks: tuple[str, ...], where: str) -> None:
    if MASK_PREFIX in header:
        raise UserError(where, f"column {MASK_PREFIX!r}", "mask, or mask_<MODALITY>", "rename or remove it")
    if "" in masks and len(masks) > 1:
        found = "columns mask and mask_" + masks[1 if masks[0] == "" else 0]
        raise UserError(where, found, "one mask for all, or one a modality", "remove the one or the others")
    if ("onset_time" in header) != ("scan_time" in header):
        found = "one of onset_time and scan_time"
        raise UserError(where, found, "both, or tss_hours, or none", "add the other column")
    if "tss_hours" in header and "onset_time" in header:
        raise UserError(where, "tss_hours beside onset_time and scan_time", "one of both", "remove one")


def _case_names(lines: list[tuple[str, dict[str, str]]], log: Callable[[str], None]) -> list[str]:
    """The names of the cases; a counter names those that have none."""
    names = [values.get("case", "") for _, values in lines]
    if not all(names):
        counted = [number for number, name in enumerate(names, start=1) if not name]
        names = [name or f"case_{number:03d}" for number, name in enumerate(names, start=1)]
        log(
            f"{len(counted)} rows without a case are named by their place in the table ({names[counted[0] - 1]}, ...): "
            "add rows at its end only"
        )
    seen: dict[str, str] = {}
    for name, (where, _) in zip(names, lines, strict=True):
        check_case_name(name, where)
        if name.lower() in seen:  # lower: some file systems know no difference
            found = f"case {name!r}, as in {seen[name.lower()]}"
            raise UserError(where, found, "a case of its own in every row", "rename or remove one")
        seen[name.lower()] = where.rpartition(", ")[2]
    return names


def _row(case: str, values: dict[str, str], channels: tuple[str, ...], folder: Path, where: str) -> ManifestRow:
    sources = {c: _source(values[c], folder, f"{where}, column {c}") for c in channels if values[c]}
    if not sources:
        raise UserError(where, "no channel", "at least one scan", "add a path or remove the row")
    masks: dict[str, str | None] = {}
    for column, text in values.items():
        if _is_mask(column) and text:
            name = "" if column == "mask" else column.removeprefix(MASK_PREFIX)
            masks[name] = None if text == EMPTY else _mask(text, folder, f"{where}, column {column}")
    if "onset_time" in values:
        hours = hours_between(values["onset_time"], values["scan_time"], where)
    else:
        hours = hours_from(values.get("tss_hours", ""), where)
    unit = _adc_unit(values.get("adc_unit", ""), where)
    patient = values.get("patient", "")
    check_identifier(patient, f"{where}, column patient")
    return ManifestRow(case, sources, masks, hours, patient or None, where, unit)


def _adc_unit(text: str, where: str) -> str:
    known = ("auto", *UNITS)
    if text and text not in known:
        remedy = "write one of them, or empty the cell: the unit is told from the values"
        raise UserError(f"{where}, column adc_unit", repr(text), " | ".join(known), remedy)
    return text


def _source(text: str, folder: Path, where: str) -> str:
    """The absolute path of a scan, which may be a folder of DICOM files and name one of its series."""
    path = _absolute(text, folder)
    if _is_scan(path):
        return path
    parent, mark, _ = path.rpartition("#")
    if mark and os.path.isdir(parent):
        return path
    expected = "a file, a folder of DICOM files, or folder#SeriesInstanceUID"
    remedy = "mend the path (relative ones begin at the manifest's folder); where there is no such scan, empty the cell"
    raise UserError(where, f"no such file: {path}", expected, remedy)


def _mask(text: str, folder: Path, where: str) -> str:
    path = _absolute(text, folder)
    if not _is_scan(path):
        remedy = "mend the path; without a mask empty the cell; where somebody looked and saw no lesion, write `empty`"
        raise UserError(where, f"no such file: {path}", "a file", remedy)
    return path


def _is_scan(path: str) -> bool:
    """Whether there is a file or a folder; a pipe would be waited for without end."""
    return os.path.isfile(path) or os.path.isdir(path)


def _absolute(text: str, folder: Path) -> str:
    """The path with links in its folders followed, as the system reads `..`; a link to the scan keeps its name."""
    path = folder.absolute() / Path(text).expanduser()
    if path.name in ("", ".."):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(path.parent), path.name)


def _check_twice(rows: tuple[ManifestRow, ...]) -> None:
    """A scan in two places is a slip of the hand, and could put a patient into training and test data at once."""
    seen: dict[str, str] = {}
    for row in rows:
        for column, source in row.sources.items():
            where = f"{row.where}, column {column}"
            if source in seen:
                raise UserError(where, f"{source}, as in {seen[source]}", "a file of its own", "mend one of the paths")
            seen[source] = where
