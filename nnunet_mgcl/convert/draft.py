"""A manifest's first draft, guessed from a folder of scans for the user to correct."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_mgcl.convert.channels import KINDS, guess_kind
from nnunet_mgcl.convert.dicom import Slice, find_series
from nnunet_mgcl.convert.scan_reader import ENDINGS
from nnunet_mgcl.errors import UserError
from nnunet_mgcl.files import write_text

_MASK_WORDS = {"mask", "masks", "msk", "roi", "rois", "seg", "label", "labels", "lesion", "lesions", "infarct"}
_FILLERS = {
    "map",
    "maps",
    "image",
    "images",
    "scan",
    "scans",
    "volume",
    "nii",
    "nifti",
    "dicom",
    "dcm",
    "anat",
    "raw",
    "rawdata",
    "derivatives",
}
_SIDECARS = (".json", ".bval", ".bvec", ".tsv", ".raw", ".zraw")


@dataclass(frozen=True)
class Scan:
    """A file or DICOM series, and what its name is taken for.

    Attributes:
        source: Path, for one of several series in a folder followed by `#` and its SeriesInstanceUID.
        group: The folder of the case below the root; empty where folders tell nothing.
        prefix: What is left of the file's name without the words that tell what it is.
        column: Channel, `mask` or `mask_<CHANNEL>`; None where the name tells nothing.
    """

    source: str
    group: str
    prefix: str
    column: str | None


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
    scans, others = _find_scans(folder.absolute())
    found = {label: _columns(members) for label, members in _cases(scans).items()}
    cases = _simplify_masks({label: columns for label, columns in found.items() if set(KINDS) & set(columns)})
    if not cases:
        remedy = "name the folder above the scans, or write the manifest by hand (docs/convert.md)"
        raise UserError(folder, "no scan whose kind its name tells", f"names with {', '.join(KINDS[:4])}, ...", remedy)
    present = {column for case in cases.values() for column in case}
    columns = [kind for kind in KINDS if kind in present] + sorted(present - set(KINDS))
    _write(manifest, columns, cases)
    used = {source for case in cases.values() for source in case.values()}
    for line in _table(columns, cases):
        log(line)
    for source in [scan.source for scan in scans if scan.source not in used] + others:
        log(f"in no row: {source}")
    log(
        f"{manifest}: {len(cases)} cases, guessed from names. Check every row, remove the columns that you do "
        "not want, and fill in the times, and patient where one has several rows."
    )


def _find_scans(root: Path) -> tuple[list[Scan], list[str]]:
    """All scans below a folder, and the files that are none."""
    scans: list[Scan] = []
    others: list[str] = []
    for name, folders, files in os.walk(root):
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        paths = [Path(name) / file for file in sorted(files) if not file.startswith(".")]
        images = [path for path in paths if path.name.lower().endswith(ENDINGS)]
        scans += [_file(root, path) for path in images]
        rest = [path for path in paths if path not in images and not path.name.lower().endswith(_SIDECARS)]
        series: dict[str, list[Slice]] = find_series(Path(name)) if rest else {}
        for uid, slices in series.items():
            source = name if len(series) == 1 else f"{name}#{uid}"
            scans.append(_series(root, Path(name), source, slices[0].description))
        read = {image.path for slices in series.values() for image in slices}
        others += [str(path) for path in rest if path not in read]
    return scans, others


def _file(root: Path, path: Path) -> Scan:
    folder, name = path.relative_to(root).parent, _stem(path)
    return Scan(str(path), _owner(folder), _prefix(name), _column(name) or _column(folder.name))


def _series(root: Path, folder: Path, source: str, description: str) -> Scan:
    """A DICOM series. Its description has no prefix, and `seg` there is a segmented sequence."""
    folder = folder.relative_to(root)
    return Scan(source, _owner(folder), "", guess_kind(description) or _column(folder.name))


def _owner(folder: Path) -> str:
    """The first folder that is not named after what is in it, with the session's below it: whose scans they are."""
    owners = [part for part in folder.parts if not _is_descriptive(part)]
    return "/".join(owners[:1] + [part for part in owners[1:2] if part.lower().startswith("ses")])


def _column(name: str) -> str | None:
    words = _words(name)
    kind = guess_kind(name)
    if _MASK_WORDS & set(words):
        return None if "brain" in words else f"mask_{kind}" if kind else "mask"
    return kind


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]


def _is_descriptive(folder: str) -> bool:
    """Whether a folder is named after what is in it instead of after a patient."""
    words = set(_words(folder))
    return guess_kind(folder) is not None or bool(words & (_MASK_WORDS | _FILLERS))


def _prefix(name: str) -> str:
    """The words of a name that do not tell what the scan is, such as `patient_7` of `patient_7_lesion_mask`."""
    fillers = _MASK_WORDS | _FILLERS
    return "_".join(word for word in _words(name) if word not in fillers and guess_kind(word) is None)


def _stem(path: Path) -> str:
    ending = next(ending for ending in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(ending))
    return path.name[: -len(ending)]


def _cases(scans: Iterable[Scan]) -> dict[str, list[Scan]]:
    """Groups scans by folder, and by the beginning of their names where no folder tells or one holds a kind twice."""
    groups: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        groups[scan.group].append(scan)
    cases: dict[str, list[Scan]] = defaultdict(list)
    for group, members in sorted(groups.items()):
        columns = [scan.column for scan in members if scan.column]
        alone = group and len(set(columns)) == len(columns)
        for scan in members:
            cases[group if alone else f"{group}/{scan.prefix}".strip("/")].append(scan)
    return dict(sorted(cases.items()))


def _columns(scans: Sequence[Scan]) -> dict[str, str]:
    """Column -> source; where several fit one column, the user must choose."""
    columns: dict[str, list[str]] = defaultdict(list)
    for scan in scans:
        if scan.column:
            columns[scan.column].append(scan.source)
    return {column: sources[0] for column, sources in columns.items() if len(sources) == 1}


def _simplify_masks(cases: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """One column `mask` where no case has several masks, else one for each modality."""
    several = any(sum(column.startswith("mask") for column in case) > 1 for case in cases.values())
    if several:
        return {label: {c: source for c, source in case.items() if c != "mask"} for label, case in cases.items()}
    return {label: {c.partition("_")[0]: source for c, source in case.items()} for label, case in cases.items()}


def _write(manifest: Path, columns: Sequence[str], cases: Mapping[str, dict[str, str]]) -> None:
    base = manifest.absolute().parent
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "patient", *columns, "onset_time", "scan_time"])
    for number, case in enumerate(cases.values(), start=1):
        sources = [case.get(column, "") for column in columns]
        relative = [
            os.path.relpath(source, base) if Path(source).is_relative_to(base) else source for source in sources
        ]
        writer.writerow([_name(number), "", *relative, "", ""])
    write_text(manifest, text.getvalue())


def _name(number: int) -> str:
    return f"case_{number:03d}"


def _table(columns: Sequence[str], cases: Mapping[str, dict[str, str]]) -> list[str]:
    """What was found for each case, and by which part of the path."""
    rows = [["case", *columns, "from"]]
    for number, (label, case) in enumerate(cases.items(), start=1):
        rows.append([_name(number), *("x" if column in case else "" for column in columns), label])
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
