"""Measures many cases and writes what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_mgcl.mismatch.baseline import baselines
from nnunet_mgcl.mismatch.case_mismatch import (
    FLAIR_COLUMNS,
    LESION_COLUMNS,
    PERFUSION_COLUMNS,
    REASON,
    CaseMismatch,
    MismatchOptions,
    measure_case,
)
from nnunet_mgcl.mismatch.roles import Roles
from nnunet_mgcl.system.csv_table import write_csv
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.system.workers import run_jobs


def find_cases(segmentations: Path, file_ending: str) -> list[str]:
    """The cases of a folder of label maps, sorted.

    Raises:
        UserError: There is none.
    """
    cases = sorted(path.name.removesuffix(file_ending) for path in segmentations.glob(f"*{file_ending}"))
    if not cases:
        raise UserError(segmentations, "no segmentation", f"files CASE{file_ending}", "check -d, -s")
    return cases


def measure_cases(
    cases: Sequence[str],
    images: Path,
    segmentations: Path,
    file_ending: str,
    roles: Roles,
    options: MismatchOptions,
    processes: int,
) -> Iterator[CaseMismatch]:
    """Measures cases of a folder, in any order; arguments as for `mgcl mismatch`."""
    return run_jobs(partial(_measure, images, segmentations, file_ending, roles, options), cases, processes)


def _measure(
    images: Path, segmentations: Path, ending: str, roles: Roles, options: MismatchOptions, case: str
) -> CaseMismatch:
    files = {role: images / f"{case}_{number:04d}{ending}" for role, number in roles.channels.items()}
    return measure_case(case, files, segmentations / f"{case}{ending}", roles, options)


def write_tables(
    folder: Path, found: Sequence[CaseMismatch], roles: Roles, options: MismatchOptions, positive: dict[str, bool]
) -> dict[str, Any]:
    """Writes `mismatch.csv`, `mismatch_lesions.csv` and `mismatch_summary.json`; returns the baselines.

    Args:
        folder: Where they go.
        found: The cases.
        roles: What was measured.
        options: And how.
        positive: Whether TSS < 4.5 h, for the cases where it is known.
    """
    found = sorted(found, key=lambda case: case.row["case"])
    rows = [case.row | {"tss_class": _class(positive, case.row["case"])} for case in found]
    columns = ("case", "tss_class", *FLAIR_COLUMNS, *PERFUSION_COLUMNS, REASON)
    write_csv(folder / "mismatch.csv", columns, rows)
    lesions = [lesion for case in found for lesion in case.lesions]
    write_csv(folder / "mismatch_lesions.csv", LESION_COLUMNS, lesions)
    metrics = baselines(rows, positive, options.flair_positive)
    write_json(
        folder / "mismatch_summary.json",
        {"options": asdict(options), "channels": roles.channels, "masks": roles.masks, "baselines": metrics},
    )
    return metrics


def _class(positive: dict[str, bool], case: str) -> str:
    return str(int(positive[case])) if case in positive else ""
