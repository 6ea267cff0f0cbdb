"""A manifest's first draft, guessed from a folder of scans for the user to correct."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nnunet_mgcl.convert.manifest.channels import KINDS
from nnunet_mgcl.convert.scans.finder import Scan, find_scans, group_scans
from nnunet_mgcl.system.csv_table import write_csv
from nnunet_mgcl.system.errors import UserError, counted, some

Cases = dict[str, dict[str, str]]
"""Part of the path that names a case -> its sources by column."""


def write_draft(folder: Path, manifest: Path, log: Callable[[str], None] = print) -> None:
    """Writes a manifest draft with a row for each guessed case, and tells what was guessed and what is in no row.

    Args:
        folder: Holds NIfTI, MHA, NRRD files or DICOM series, at any depth.
        manifest: The file to write; never overwritten.
        log: Is told line by line.

    Raises:
        UserError: There is no such folder, no scan in it, or the manifest exists.
    """
    if manifest.exists():
        raise UserError(manifest, "an existing file", "a new one", "remove it, or name another with -o")
    if not folder.is_dir():
        raise UserError(folder, "no such folder", "a folder of scans", "mend the path")
    scans, others = find_scans(folder.absolute())
    fitting = {label: _by_column(members) for label, members in group_scans(scans).items()}
    # Where several scans fit one column, the user must choose.
    single = {label: {c: found[0] for c, found in by.items() if len(found) == 1} for label, by in fitting.items()}
    cases = _simplify_masks({label: columns for label, columns in single.items() if set(KINDS) & set(columns)})
    doubles = [
        f"{column} {len(found)} times in {label or 'the folder'}: {some(found)}"
        for label, columns in fitting.items()
        for column, found in columns.items()
        if len(found) > 1
    ]
    if not cases:
        found, expected = "no scan whose kind its name tells", f"names with {', '.join(KINDS[:4])}, ..."
        remedy = "name the folder above the scans"
        if doubles:
            found, expected = some(doubles), "each kind of scan once a case"
            remedy = "move the copies that you do not want elsewhere"
        raise UserError(folder, found, expected, f"{remedy}, or write the manifest by hand (docs/convert.md)")
    present = {column for case in cases.values() for column in case}
    columns = [kind for kind in KINDS if kind in present] + sorted(present - set(KINDS))
    _write(manifest, columns, cases)
    for line in (*_table(columns, cases), *doubles, *_in_no_row(scans, cases)):
        log(line)
    if others:
        log(f"in no row: {some(others)} (no scans)")
    log(
        f"{manifest}: {counted(len(cases), 'case')}, guessed from names. Check every row, remove the columns that you "
        "do not want, and fill in the times, and patient where one has several rows."
    )


def _by_column(scans: Sequence[Scan]) -> dict[str, list[str]]:
    """Column -> the sources that fit it; processed copies only where there is nothing else."""
    columns: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        if scan.column:
            columns[scan.column].append(scan)
    return {
        column: [scan.source for scan in fitting if not scan.is_copy] or [scan.source for scan in fitting]
        for column, fitting in columns.items()
    }


def _in_no_row(scans: Sequence[Scan], cases: Cases) -> Iterator[str]:
    """A line for each scan that was not taken, with the rows that a mask may belong to."""
    used = {source for case in cases.values() for source in case.values()}
    for scan in scans:
        if scan.source in used:
            continue
        rows = [_name(n) for n, label in enumerate(cases, start=1) if label.startswith(f"{scan.group}/") and scan.group]
        is_mask = scan.column is not None and scan.column.startswith("mask")
        whose = f" (a mask, of {' or '.join(rows)}: write it into that row)" if is_mask and rows else ""
        yield f"in no row: {scan.source}{whose}"


def _simplify_masks(cases: Cases) -> Cases:
    """One column `mask` where no case has several masks, else one for each modality."""
    several = any(sum(column.startswith("mask") for column in case) > 1 for case in cases.values())
    if several:
        return {label: {c: source for c, source in case.items() if c != "mask"} for label, case in cases.items()}
    return {label: {c.partition("_")[0]: source for c, source in case.items()} for label, case in cases.items()}


def _write(manifest: Path, columns: Sequence[str], cases: Cases) -> None:
    base = manifest.absolute().parent
    rows: list[Mapping[str, str]] = []
    for number, case in enumerate(cases.values(), start=1):
        relative = {c: os.path.relpath(s, base) if Path(s).is_relative_to(base) else s for c, s in case.items()}
        rows.append({"case": _name(number), **relative})
    write_csv(manifest, ("case", "patient", *columns, "onset_time", "scan_time"), rows)


def _name(number: int) -> str:
    return f"case_{number:03d}"


def _table(columns: Sequence[str], cases: Cases) -> list[str]:
    """What was found for each case, and by which part of the path."""
    rows = [["case", *columns, "from"]]
    for number, (label, case) in enumerate(cases.items(), start=1):
        rows.append([_name(number), *("x" if column in case else "" for column in columns), label or "."])
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
