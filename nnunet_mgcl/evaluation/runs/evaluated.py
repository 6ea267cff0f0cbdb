"""A run with its numbers: computed and written, or read where they are current."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.progress import track

from nnunet_mgcl.evaluation.calibration.maps import Calibration
from nnunet_mgcl.evaluation.calibration.stored import KEY, store_calibration
from nnunet_mgcl.evaluation.evaluation import evaluation, evaluation_path, write_evaluation
from nnunet_mgcl.evaluation.runs.validated_run import ValidatedRun
from nnunet_mgcl.evaluation.runs.written_evaluation import newer, read_evaluation
from nnunet_mgcl.plan.plans_file import read_plans

TOLERANCE, SENSITIVITY = 2.0, 0.9
"""Defaults: of the surface Dice, in mm, and the wanted one of the third operating point."""


def own_path(run: ValidatedRun) -> Path:
    """Where the numbers of these folds lie, whoever wrote them."""
    return evaluation_path(run.model, run.some_folds)


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
    if done := store_calibration(run.model, content["tss"], run.folds, run.some_folds is None):
        print(done)
    return content, table


def current_evaluation(run: ValidatedRun) -> dict[str, Any]:
    """The content of `evaluation.json`; where it is of no use the run is evaluated first, and one line says why.

    An outdated one keeps its settings. A calibration that is missing in plans.json is put there again.
    """
    path = own_path(run)
    content, why = read_evaluation(path)
    if content is None or (why := why or _why_not_of(run, content, path)):
        print(f"{path.name}: {why}; evaluating")
        earlier = content["settings"] if content else {}
        tolerance = earlier.get("surface_dice_tolerance_mm", TOLERANCE)
        return evaluate(run, tolerance, earlier.get("sensitivity", SENSITIVITY))[0]
    if run.some_folds is None and not _is_stored(run, content["tss"]):
        print(store_calibration(run.model, content["tss"], run.folds, True))
    return content


def _why_not_of(run: ValidatedRun, content: dict[str, Any], path: Path) -> str | None:
    """Why the numbers are not those of this run, in words; None where they are."""
    own = {"dataset": run.layout.name, "model": run.model.name, "folds": run.folds}
    for key, value in own.items():
        if content[key] != value:
            return f"of {key} {content[key]}, not {value}"
    if bool(run.no_tss) != bool(content["tss"]["reason"]):
        return f"older than what is said about the TSS now ({run.no_tss or 'it can be evaluated'})"
    references = [run.reference(case) for fold in run.folds for case in run.splits[fold]["val"]]
    file = newer([run.layout.splits, run.layout.tss, *references], path)
    return f"older than {file.name} of the dataset" if file else None


def _is_stored(run: ValidatedRun, tss: dict[str, Any]) -> bool:
    """Whether plans.json holds the map of these numbers: a training takes it out, a killed evaluation leaves it."""
    own = None if tss["reason"] or tss["calibration"]["reason"] else tss["calibration"]
    stored = read_plans(run.model / "plans.json").get(KEY)
    if own is None or not isinstance(stored, dict):
        return own is stored
    return all(stored.get(key) == own[key] for key in (*Calibration.model_fields, "reliability"))
