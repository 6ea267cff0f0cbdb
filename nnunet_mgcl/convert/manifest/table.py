"""The manifest: one row a patient, one column a channel."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from nnunet_mgcl.convert.manifest.channels import names_mask
from nnunet_mgcl.convert.manifest.onset import hours_between, hours_from
from nnunet_mgcl.convert.output.case_files import FILE_ENDING
from nnunet_mgcl.data.images.adc_units import UNITS
from nnunet_mgcl.data.images.files import check_stem
from nnunet_mgcl.system.csv_table import Rows, check_identifier, read_csv
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
        return self.channels | {mask_column(name): path for name, path in self.masks.items() if path}

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


def mask_column(name: str) -> str:
    """The column of the masks of a modality, or of those for all ("")."""
    return f"{MASK_PREFIX}{name}" if name else "mask"


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
    mask_columns = [column for column in header if column == "mask" or column.startswith(MASK_PREFIX)]
    masks = {column: "" if column == "mask" else column.removeprefix(MASK_PREFIX) for column in mask_columns}
    channels = tuple(column for column in header if column not in RESERVED and column not in masks)
    _check_channels(channels, where)
    _check_columns(header, tuple(masks.values()), where)
    if not lines:
        raise UserError(path, "no row", "one row a patient", "add rows")
    cases = zip(_case_names(lines, log), lines, strict=True)
    rows = tuple(_row(case, values, channels, masks, path.parent, line) for case, (line, values) in cases)
    _check_twice(rows)
    return Manifest(path, channels, tuple(masks.values()), rows)


def check_case_name(case: str, where: str) -> None:
    """Refuses what nnU-Net could not take for a case's name.

    Raises:
        UserError: It begins or ends badly, is too long, or has characters that are no part of a portable file name.
    """
    if not _CASE.fullmatch(case) or case.endswith("_seg") or len(case) > LONGEST_CASE:
        expected = f"up to {LONGEST_CASE} letters, digits, . _ and -, a letter or digit first, no _seg at the end"
        raise UserError(where, f"case {case!r}", expected, "rename the case")
    check_stem(case, FILE_ENDING, where)


def _check_channels(channels: Sequence[str], where: str) -> None:
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
    if len({channel.lower() for channel in channels}) < len(channels):
        raise UserError(where, f"channels {list(channels)}", "names that differ in more than case", "rename one")


def _check_columns(header: Sequence[str], masks: Sequence[str], where: str) -> None:
    if MASK_PREFIX in header:
        raise UserError(where, f"column {MASK_PREFIX!r}", "mask, or mask_<MODALITY>", "rename or remove it")
    if "" in masks and len(masks) > 1:
        found = f"columns mask and {mask_column(max(masks))}"
        raise UserError(where, found, "one mask for all, or one a modality", "remove the one or the others")
    if ("onset_time" in header) != ("scan_time" in header):
        found = "one of onset_time and scan_time"
        raise UserError(where, found, "both, or tss_hours, or none", "add the other column")
    if "tss_hours" in header and "onset_time" in header:
        raise UserError(where, "tss_hours beside onset_time and scan_time", "one of both", "remove one")


def _case_names(lines: Rows, log: Callable[[str], None]) -> list[str]:
    """The names of the cases; a counter names those that have none."""
    given = [values.get("case", "") for _, values in lines]
    names = [name or f"case_{number:03d}" for number, name in enumerate(given, start=1)]
    if unnamed := [name for name, text in zip(names, given, strict=True) if not text]:
        place = f"their place in the table ({unnamed[0]}, ...)"
        log(f"{len(unnamed)} rows without a case are named by {place}: add rows at its end only")
    seen: dict[str, str] = {}
    for name, (where, _) in zip(names, lines, strict=True):
        check_case_name(name, where)
        if name.lower() in seen:  # lower: some file systems know no difference
            found = f"case {name!r}, as in {seen[name.lower()]}"
            raise UserError(where, found, "a case of its own in every row", "rename or remove one")
        seen[name.lower()] = where.rpartition(", ")[2]
    return names


def _row(
    case: str, values: dict[str, str], channels: Sequence[str], masks: dict[str, str], folder: Path, where: str
) -> ManifestRow:
    def source(column: str) -> str:
        return _source(values[column], folder, f"{where}, column {column}", is_mask=column in masks)

    sources = {channel: source(channel) for channel in channels if values[channel]}
    if not sources:
        raise UserError(where, "no channel", "at least one scan", "add a path or remove the row")
    drawn = {name: None if values[c] == EMPTY else source(c) for c, name in masks.items() if values[c]}
    if "onset_time" in values:
        hours = hours_between(values["onset_time"], values["scan_time"], where)
    else:
        hours = hours_from(values.get("tss_hours", ""), where)
    unit, known = values.get("adc_unit", ""), ("auto", *UNITS)
    if unit and unit not in known:
        remedy = "write one of them, or empty the cell: the unit is told from the values"
        raise UserError(f"{where}, column adc_unit", repr(unit), " | ".join(known), remedy)
    patient = values.get("patient", "")
    check_identifier(patient, f"{where}, column patient")
    return ManifestRow(case, sources, drawn, hours, patient or None, where, unit)


def _source(text: str, folder: Path, where: str, *, is_mask: bool) -> str:
    """The absolute path of a scan or mask; a scan may be a folder of DICOM files and name one of its series.

    Links in its folders are followed, as the system reads `..`; a link to the scan keeps its name. A pipe is no scan:
    it would be waited for without end.
    """
    path = folder.absolute() / Path(text).expanduser()
    if path.name in ("", ".."):
        source = os.path.realpath(path)
    else:
        source = os.path.join(os.path.realpath(path.parent), path.name)
    series_folder, mark, _ = source.rpartition("#")
    if os.path.isfile(source) or os.path.isdir(source) or (not is_mask and mark and os.path.isdir(series_folder)):
        return source
    if is_mask:
        expected = "a file"
        remedy = "mend the path; without a mask empty the cell; where somebody looked and saw no lesion, write `empty`"
    else:
        expected = "a file, a folder of DICOM files, or folder#SeriesInstanceUID"
        remedy = "mend the path (relative ones begin at the manifest's folder); without such a scan, empty the cell"
    raise UserError(where, f"no such file: {source}", expected, remedy)


def _check_twice(rows: Sequence[ManifestRow]) -> None:
    """A scan in two places is a slip of the hand, and could put a patient into training and test data at once."""
    seen: dict[str, str] = {}
    for row in rows:
        for column, source in row.sources.items():
            where = f"{row.where}, column {column}"
            if source in seen:
                raise UserError(where, f"{source}, as in {seen[source]}", "a file of its own", "mend one of the paths")
            seen[source] = where
