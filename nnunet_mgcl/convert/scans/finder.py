"""Finds the scans below a folder and guesses from names what each is and whose."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_mgcl.convert.manifest.channels import MASK_WORDS, guess_kind
from nnunet_mgcl.convert.scans.dicom import Slice, find_series
from nnunet_mgcl.data.images.checks import WITH_GEOMETRY

_FILLERS = {
    "map", "image", "images", "scan", "scans", "volume", "nii", "nifti", "dicom", "dcm", "anat", "raw", "rawdata",
    "derivatives", "tumor", "tumour",
}  # fmt: skip
_COPIES = {
    "bias", "n4", "reg", "registered", "coreg", "norm", "normalised", "normalized", "stripped", "brain", "bet",
    "corrected", "resampled",
}  # fmt: skip
"""Words in the names of processed copies, as in `flair_bias` beside `flair`."""
_ENDING = re.compile(f"({'|'.join(map(re.escape, WITH_GEOMETRY))})$", re.IGNORECASE)
_UUID_FILE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\..+", re.IGNORECASE)
_SIDECARS = (".json", ".bval", ".bvec", ".tsv", ".raw", ".zraw")


@dataclass(frozen=True)
class Scan:
    """A file or DICOM series, and what its name is taken for.

    Attributes:
        source: Path, for one of several series in a folder followed by `#` and its SeriesInstanceUID.
        group: The folder of the case below the root; empty where folders tell nothing.
        prefix: What is left of the file's name without the words that tell what it is.
        column: Channel, `mask` or `mask_<CHANNEL>`; None where the name tells nothing.
        is_copy: Whether its name speaks of a processed copy.
    """

    source: str
    group: str
    prefix: str
    column: str | None
    is_copy: bool = False


def find_scans(root: Path) -> tuple[list[Scan], list[str]]:
    """All scans below a folder, and the files that are none; sidecars of scans are left out."""
    scans: list[Scan] = []
    others: list[str] = []
    for name, folders, files in os.walk(root):
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        paths = [Path(name) / file for file in sorted(files) if not file.startswith(".")]
        images = [path for path in paths if _ENDING.search(path.name)]
        folder = Path(name).relative_to(root)
        owner, above = _owner(folder), [*reversed(folder.parts)]
        for path in images:
            stem = _ENDING.sub("", path.name)
            is_copy = bool(_COPIES & set(_words(stem)))
            scans.append(Scan(str(path), owner, _prefix(stem), _column([stem, *above]), is_copy))
        rest = [path for path in paths if path not in images and not path.name.lower().endswith(_SIDECARS)]
        series: dict[str, list[Slice]] = find_series(Path(name)) if rest else {}
        for uid, slices in series.items():
            source = name if len(series) == 1 else f"{name}#{uid}"
            # Its description names no patient, and `seg` there is a segmented sequence.
            scans.append(Scan(source, owner, "", guess_kind(slices[0].description) or _column(above)))
        read = {image.path for slices in series.values() for image in slices}
        others += [str(path) for path in rest if path not in read]
    return scans, others


def _owner(folder: Path) -> str:
    """The first folder that is not named after what is in it, with the session's below it: whose scans they are."""
    owners = [part for part in folder.parts if not _is_descriptive(part)]
    return "/".join(owners[:1] + [part for part in owners[1:2] if part.lower().startswith("ses")])


def _column(names: Sequence[str]) -> str | None:
    """The column that the names of a file and its folders tell, the innermost first."""
    kind = next(filter(None, map(guess_kind, names)), None)
    words = {word for name in names for word in _words(name)}
    if words & MASK_WORDS:
        return None if "brain" in words else f"mask_{kind}" if kind else "mask"
    return kind


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]


def _is_descriptive(folder: str) -> bool:
    """Whether a folder is named after what is in it instead of after a patient."""
    words = set(_words(folder))
    return guess_kind(folder) is not None or bool(words & (MASK_WORDS | _FILLERS))


def _prefix(name: str) -> str:
    """The words of a name that do not tell what the scan is, such as `patient_7` of `patient_7_lesion_mask`."""
    fillers = MASK_WORDS | _FILLERS | _COPIES
    return "_".join(word for word in _words(name) if word not in fillers and guess_kind(word) is None)


def group_scans(scans: Iterable[Scan]) -> dict[str, list[Scan]]:
    """The scans of each case: by folder, and by their names where no folder tells or one holds a kind twice.

    Names that are UUIDs tell nothing: where no kind occurs twice, such scans are of one case.
    """
    groups: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        groups[scan.group].append(scan)
    cases: dict[str, list[Scan]] = defaultdict(list)
    for group, members in sorted(groups.items()):
        columns = [scan.column for scan in members if scan.column and not scan.is_copy]
        unnamed = all(_UUID_FILE.fullmatch(Path(scan.source).name) for scan in members)
        alone = (group or unnamed) and len(set(columns)) == len(columns)
        for scan in members:
            cases[group if alone else f"{group}/{scan.prefix}".strip("/")].append(scan)
    return dict(sorted(cases.items()))
