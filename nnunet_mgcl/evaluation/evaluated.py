"""A run with its numbers: computed and written, or read where they are current."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.progress import track

from nnunet_mgcl.evaluation.evaluation import evaluation, evaluation_path, write_evaluation
from nnunet_mgcl.evaluation.stored_calibration import store_calibration
from nnunet_mgcl.evaluation.validated_run import ValidatedRun
from nnunet_mgcl.files import read_json

TOLERANCE, SENSITIVITY = 2.0, 0.9
"""Defaults: of the surface Dice, in mm, and the wanted one of the third operating point."""


def own_path(run: ValidatedRun) -> Path:
    """Where the numbers of these folds lie, whoever wrote them."""
    return evaluation_path(run.model, run.folds, len(run.folds) == len(run.splits))


def evaluate(run: ValidatedRun, tolerance: float, sensitivity: float) -> tuple[dict[str, Any], Path]:
    """Measures every case under a progress bar; writes `evaluation.json`, `evaluation_cases.csv` and the calibration.

    Args:
        run: The validated folds.
        tolerance: Of the surface Dice, in mm.
        sensitivity: The wanted one of the third operating point.

    Returns:
        The content of `evaluation.json`, and the CSV file.
    """
    cases = list(track(run.scores(tolerance), "Cases", run.case_count, transient=True))
    content = evaluation(run, cases, tolerance, sensitivity)
    table = write_evaluation(own_path(run), content)
    if done := store_calibration(run.model, content["tss"], run.folds, len(run.folds) == len(run.splits)):
        print(done)
    return content, table


def current_evaluation(run: ValidatedRun) -> dict[str, Any]:
    """The content of `evaluation.json`; where it is missing or outdated the run is evaluated first, in one line.

    An outdated one keeps its settings.
    """
    path = own_path(run)
    content = read_json(path) if path.is_file() else None
    why = outdated(path, content["folds"]) if content else "there is none"
    if content and not why and max(file.stat().st_mtime for file in _of_the_dataset(run)) > path.stat().st_mtime:
        why = "older than the split or the TSS table"
    if content and "smallest_voxel_side_mm" not in content:
        why = "of an older version"
    if content and not why:
        return content
    print(f"{path.name}: {why}; evaluating")
    settings = content["settings"] if content else {}
    return evaluate(
        run,
        settings.get("surface_dice_tolerance_mm", TOLERANCE),
        settings.get("sensitivity", SENSITIVITY),
    )[0]


def outdated(path: Path, folds: list[int]) -> str | None:
    """Which validation is newer than an `evaluation.json` of these folds, in words; None where none is."""
    for fold in folds:
        for name in ("summary.json", "tss.csv"):
            file = path.parent / f"fold_{fold}" / "validation" / name
            if file.is_file() and file.stat().st_mtime > path.stat().st_mtime:
                return f"older than fold_{fold}/validation/{name}"
    return None


def _of_the_dataset(run: ValidatedRun) -> list[Path]:
    return [run.layout.splits, *([run.layout.tss] if run.layout.tss.is_file() else [])]
