"""A BIDS folder as a manifest: one row for each subject and session."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nnunet_mgcl.convert.manifest.channels import is_adc, is_perfusion
from nnunet_mgcl.convert.manifest.table import Manifest, ManifestRow
from nnunet_mgcl.system.errors import UserError, counted, some

SUFFIXES = {kind: kind.lower() for kind in ("DWI", "ADC", "FLAIR", "T2", "Tmax", "CBF", "CBV", "MTT", "TTP")}
SUFFIXES["T2"] = "T2w"
"""Channel -> suffix, where the user names none. Upper and lower case are the same."""

MASK_SUFFIXES = ("mask", "msk", "roi")

_NAME = re.compile(r"sub-(?P<sub>[a-z0-9]+)(_ses-(?P<ses>[a-z0-9]+))?_(?P<rest>.+)\.nii(\.gz)?", re.IGNORECASE)
_OTHERS = re.compile(r"space-(mni|talairach|icbm)|desc-brain_|label-(brain|gm|wm|csf)_", re.IGNORECASE)
"""Not this patient's own space, or a mask of no lesion."""


def read_bids(folder: Path, suffixes: Mapping[str, str], log: Callable[[str], None] = print) -> Manifest:
    """Finds the scans and lesion masks of a BIDS folder by their names.

    Scans are looked for outside `derivatives`, ADC and perfusion maps and masks (`*_mask`, `*_msk`, `*_roi`) there
    too. Onset times are not part of BIDS.

    Args:
        folder: Holds `sub-*` folders, or files `sub-*` themselves.
        suffixes: Channel -> end of the file's name, such as `dwi` or `rec-ADC_dwi`; empty: those of `SUFFIXES` that
            are there.
        log: Is told which were taken.

    Raises:
        UserError: There is no such folder or scan, a named suffix is nowhere, or two files fit one cell.
    """
    if not folder.is_dir():
        raise UserError(folder, "no such folder", "a BIDS folder", "mend the path")
    cases: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for path in sorted(folder.rglob("sub-*")):
        if "sourcedata" in path.relative_to(folder).parts or _OTHERS.search(path.name):
            continue
        if match := _NAME.fullmatch(path.name):
            case = f"sub-{match['sub']}" + (f"_ses-{match['ses']}" if match["ses"] else "")
            cases[case].append((match["rest"].lower(), path))
    wanted = {channel: suffix.lower() for channel, suffix in (suffixes or SUFFIXES).items()}
    every = (_row(folder, case, files, wanted) for case, files in sorted(cases.items()))
    rows = tuple(row for row in every if row.channels)
    channels = tuple(channel for channel in wanted if any(channel in row.channels for row in rows))
    missing = [channel for channel in suffixes if channel not in channels]
    if missing or not rows:
        ends = sorted({rest.rpartition("_")[2] for files in cases.values() for rest, _ in files})
        lacking = f"no file that ends in _{suffixes[missing[0]]}" if missing else "no scan"
        found = f"{lacking}.nii.gz; the suffixes there are: {', '.join(ends) or 'none'}"
        remedy = "name suffixes that are there: --suffix CHANNEL=SUFFIX ..."
        raise UserError(folder, found, "files such as sub-01/dwi/sub-01_dwi.nii.gz", remedy)
    masks = sum(bool(row.masks) for row in rows)
    taken = ", ".join(f"{channel} from *_{(suffixes or SUFFIXES)[channel]}" for channel in channels)
    log(f"{folder}: {counted(len(rows), 'case')}, {masks} of them with a mask; {taken}")
    return Manifest(folder, channels, ("",) if masks else (), rows)


def _row(folder: Path, case: str, files: Sequence[tuple[str, Path]], wanted: Mapping[str, str]) -> ManifestRow:
    """One subject and session. A file counts for the longest suffix that fits: `rec-adc_dwi` goes before `dwi`."""
    where = f"{folder}, {case}"
    found: dict[str, list[Path]] = defaultdict(list)
    for rest, path in files:
        fitting = [channel for channel, suffix in wanted.items() if f"_{rest}".endswith(f"_{suffix}")]
        derived = "derivatives" in path.relative_to(folder).parts
        if f"_{rest}".endswith(tuple(f"_{suffix}" for suffix in MASK_SUFFIXES)):
            found[""].append(path)
        elif fitting:
            channel = max(fitting, key=lambda channel: len(wanted[channel]))
            if not derived or is_adc(channel) or is_perfusion(channel):
                found[channel].append(path)
    found[""] = [path for path in found[""] if "lesion" in path.name.lower()] or found[""]
    for channel, paths in found.items():
        if len(paths) > 1:
            files_twice = f"{len(paths)} files for {channel or 'the mask'}: {some([path.name for path in paths])}"
            suffix = f"--suffix {channel}=run-1_{wanted[channel]}" if channel else "keep one of them in the folder"
            remedy = f"tell which, e.g. {suffix}, or write a manifest (mgcl convert --init makes a draft)"
            raise UserError(where, files_twice, "one", remedy)
    sources = {channel: str(paths[0].absolute()) for channel, paths in found.items() if paths}
    channels = {channel: sources[channel] for channel in wanted if channel in sources}
    masks: dict[str, str | None] = {"": sources[""]} if "" in sources else {}
    patient = case.removeprefix("sub-").partition("_ses-")[0]
    return ManifestRow(case, channels, masks, None, patient, where)
