"""A run's evaluation: computed and stored, or read where the stored one is current."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import track

from nnunet_mgcl import __version__
from nnunet_mgcl.evaluation.calibration.stored import JOIN, KEY, fitted_calibration, store_calibration, store_subset
from nnunet_mgcl.evaluation.calibration.summary import calibrated_cases, cross_fit
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.runs.stored_evaluation import evaluation_path, newer, stored_evaluation, write_evaluation
from nnunet_mgcl.evaluation.segmentation_summary import summarise_segmentation
from nnunet_mgcl.evaluation.statistics.intervals import LEVEL, RESAMPLES, SEED
from nnunet_mgcl.evaluation.tss_summary import summarise_tss
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there

SETTINGS = {"surface_dice_tolerance_mm": 2.0, "sensitivity": 0.9}
"""Where an earlier evaluation has no others."""


def evaluate(run: ValidatedRun, tolerance: float, sensitivity: float) -> tuple[dict[str, Any], Path, Path]:
    """Measures every case under a progress bar; writes `evaluation.json`, `evaluation_cases.csv` and the calibration.

    Args:
        run: The validated folds.
        tolerance: Of the surface Dice, in mm.
        sensitivity: The wanted one of the third operating point.

    Returns:
        The content of `evaluation.json`, this file, and the CSV file.

    Raises:
        UserError: A file is wrong; or the stored evaluation has a TSS, and the table that it came from is gone.
    """
    path = evaluation_path(run.model, run.some_folds, run.without)
    earlier, _ = stored_evaluation(path)
    if earlier and not earlier["tss"]["reason"] and not is_there(run.layout.tss):
        raise UserError(
            run.layout.tss, "no such file", f"the table that the TSS in {path} was evaluated with",
            f"restore it, or remove {path.name} to evaluate the segmentation alone",
        )  # fmt: skip
    cases = list(track(run.scores(tolerance), "Cases", len(run.cases), transient=True))
    content = summarise_run(run, cases, tolerance, sensitivity)
    table = write_evaluation(path, content)
    fitted = run.model, content["tss"], run.folds, run.some_folds is None
    if run.without:
        present = JOIN.join(name for name in run.modalities if name not in run.without)
        print(store_subset(*fitted, run.without, present))
    elif done := store_calibration(*fitted):
        print(done)
    return content, path, table


def summarise_run(
    run: ValidatedRun, cases: Sequence[CaseScores], tolerance: float, sensitivity: float
) -> dict[str, Any]:
    """The content of `evaluation.json`; what is undefined is None, with the reason beside it.

    Args:
        run: What was read.
        cases: Its scores.
        tolerance: Of the surface Dice, in mm.
        sensitivity: The wanted one of the third operating point.
    """
    tss = {"reason": run.no_tss}
    if not run.no_tss:
        maps = cross_fit(cases, run.splits, run.folds)
        cases = calibrated_cases(cases, maps)
        tss |= summarise_tss(cases, maps, run.splits, run.folds, sensitivity)
    return {
        "nnunet_mgcl": __version__,
        "dataset": run.layout.name,
        "model": run.model.name,
        "folds": run.folds,
        "without": list(run.without),
        "cases_without_fold": sorted(run.labelled - {case for split in run.splits for case in split["val"]}),
        "divided_patients": run.divided_patients,
        "settings": {
            "surface_dice_tolerance_mm": tolerance,
            "sensitivity": sensitivity,
            "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "level": LEVEL},
        },
        "smallest_voxel_side_mm": min(run.plans.original_median_spacing_after_transp),
        "segmentation": summarise_segmentation(cases, run.folds),
        "tss": tss,
        "cases": [asdict(case) for case in cases],
    }


def current_evaluation(run: ValidatedRun) -> dict[str, Any]:
    """The content of `evaluation.json`; where it is of no use the run is evaluated first, and one line says why.

    An outdated one keeps its settings. A calibration that is missing in plans.json is put there again.
    """
    path = evaluation_path(run.model, run.some_folds, run.without)
    content, why = stored_evaluation(path)
    if content is None or (why := why or _why_not_of(run, content, path)):
        print(f"{path.name}: {why}; evaluating")
        settings = content["settings"] if content else SETTINGS
        return evaluate(run, settings["surface_dice_tolerance_mm"], settings["sensitivity"])[0]
    if run.some_folds is None and not run.without and not _is_stored(run, content["tss"]):
        print(store_calibration(run.model, content["tss"], run.folds, True))
    return content


def _why_not_of(run: ValidatedRun, content: dict[str, Any], path: Path) -> str | None:
    """Why the numbers are not those of this run, in words; None where they are."""
    for key, value in {"dataset": run.layout.name, "model": run.model.name, "folds": run.folds}.items():
        if content[key] != value:
            return f"of {key} {content[key]}, not {value}"
    if bool(run.no_tss) != bool(content["tss"]["reason"]):
        return f"older than what is said about the TSS now ({run.no_tss or 'it can be evaluated'})"
    file = newer([run.layout.splits, run.layout.tss, *map(run.reference, run.cases)], path)
    return f"older than {file.name} of the dataset" if file else None


def _is_stored(run: ValidatedRun, tss: dict[str, Any]) -> bool:
    """Whether plans.json holds the map of these numbers: a training takes it out, a killed evaluation leaves it."""
    fitted, stored = fitted_calibration(tss), read_plans(run.model / "plans.json").get(KEY)
    if fitted is None or not isinstance(stored, dict):
        return fitted is stored
    return fitted.items() <= stored.items()
