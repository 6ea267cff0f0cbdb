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
    groups = group_scans(scans)
    found = {label: _columns(members) for label, members in groups.items()}
    cases = _simplify_masks({label: columns for label, columns in found.items() if set(KINDS) & set(columns)})
    doubles = [line for label, members in groups.items() for line in _doubles(label, members)]
    if not cases and doubles:
        remedy = "move the copies that you do not want elsewhere, or write the manifest by hand (docs/convert.md)"
        raise UserError(folder, some(doubles), "each kind of scan once a case", remedy)
    if not cases:
        remedy = "name the folder above the scans, or write the manifest by hand (docs/convert.md)"
        raise UserError(folder, "no scan whose kind its name tells", f"names with {', '.join(KINDS[:4])}, ...", remedy)
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


def _columns(scans: Sequence[Scan]) -> dict[str, str]:
    """Column -> source; where several fit one column, the user must choose."""
    return {column: sources[0] for column, sources in _fitting(scans).items() if len(sources) == 1}


def _doubles(label: str, scans: Sequence[Scan]) -> list[str]:
    """What was found more than once for a case, and where."""
    return [
        f"{column} {len(sources)} times in {label or 'the folder'}: {some(sources)}"
        for column, sources in _fitting(scans).items()
        if len(sources) > 1
    ]


def _fitting(scans: Sequence[Scan]) -> dict[str, list[str]]:
    """Column -> the sources that fit it; processed copies only where there is nothing else."""
    columns: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        if scan.column:
            columns[scan.column].append(scan)
    return {
        column: [scan.source for scan in fitting if not scan.is_copy] or [scan.source for scan in fitting]
        for column, fitting in columns.items()
    }


def _in_no_row(scans: Sequence[Scan], cases: Mapping[str, dict[str, str]]) -> Iterator[str]:
    """A line for each scan that was not taken, with the rows that a mask may belong to."""
    used = {source for case in cases.values() for source in case.values()}
    for scan in scans:
        if scan.source in used:
            continue
        rows = [_name(n) for n, label in enumerate(cases, start=1) if label.startswith(f"{scan.group}/") and scan.group]
        is_mask = scan.column is not None and scan.column.startswith("mask")
        whose = f" (a mask, of {' or '.join(rows)}: write it into that row)" if is_mask and rows else ""
        yield f"in no row: {scan.source}{whose}"


def _simplify_masks(cases: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """One column `mask` where no case has several masks, else one for each modality."""
    several = any(sum(column.startswith("mask") for column in case) > 1 for case in cases.values())
    if several:
        return {label: {c: source for c, source in case.items() if c != "mask"} for label, case in cases.items()}
    return {label: {c.partition("_")[0]: source for c, source in case.items()} for label, case in cases.items()}


def _write(manifest: Path, columns: Sequence[str], cases: Mapping[str, dict[str, str]]) -> None:
    base = manifest.absolute().parent
    rows = []
    for number, case in enumerate(cases.values(), start=1):
        relative = {
            column: os.path.relpath(source, base) if Path(source).is_relative_to(base) else source
            for column, source in case.items()
        }
        rows.append({"case": _name(number), **relative})
    write_csv(manifest, ("case", "patient", *columns, "onset_time", "scan_time"), rows)


def _name(number: int) -> str:
    return f"case_{number:03d}"


def _table(columns: Sequence[str], cases: Mapping[str, dict[str, str]]) -> list[str]:
    """What was found for each case, and by which part of the path."""
    rows = [["case", *columns, "from"]]
    for number, (label, case) in enumerate(cases.items(), start=1):
        rows.append([_name(number), *("x" if column in case else "" for column in columns), label or "."])
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
