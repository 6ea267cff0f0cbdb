"""`evaluation.json` and `evaluation_cases.csv`: all numbers of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunet_mgcl import __version__
from nnunet_mgcl.evaluation.calibration.summary import calibrated_cases, cross_fit
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.runs.validated_run import ValidatedRun
from nnunet_mgcl.evaluation.segmentation_summary import summarise_segmentation
from nnunet_mgcl.evaluation.statistics.bootstrap import LEVEL, RESAMPLES, SEED
from nnunet_mgcl.evaluation.tss_summary import summarise_tss
from nnunet_mgcl.system.csv_table import write_csv
from nnunet_mgcl.system.files import write_json


def evaluation(run: ValidatedRun, cases: Sequence[CaseScores], tolerance: float, sensitivity: float) -> dict[str, Any]:
    """The content of `evaluation.json`; what is undefined is None, with the reason beside it.

    Args:
        run: What was read.
        cases: Its scores.
        tolerance: Of the surface Dice, in mm.
        sensitivity: The wanted one of the third operating point.
    """
    validated = {case for split in run.splits for case in split["val"]}
    labelled = {case for split in run.splits for part in ("train", "val") for case in split[part]}
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
        "cases_without_fold": sorted(labelled - validated),
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


def evaluation_path(model: Path, folds: Sequence[int] | None) -> Path:
    """`evaluation.json` of a results folder, named after the folds where they are not all (None)."""
    return model / f"evaluation{folds_suffix(folds)}.json"


def folds_suffix(folds: Sequence[int] | None) -> str:
    """What the name of a result of some folds ends with; nothing where it is of all (None)."""
    return "" if folds is None else f"_folds_{'_'.join(map(str, folds))}"


def write_evaluation(path: Path, content: dict[str, Any]) -> Path:
    """Writes the JSON file and, beside it, the CSV file with a row a case.

    Returns:
        The CSV file.
    """
    table = path.with_name(path.stem.replace("evaluation", "evaluation_cases") + ".csv")
    write_json(path, content)
    rows = _rows(content["cases"])
    write_csv(table, list(rows[0]), rows)
    return table


def _rows(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for case in cases:
        scores = {f"{measure}_{t}": v for t, own in case["targets"].items() for measure, v in own.items()}
        rows.append({key: value for key, value in case.items() if key != "targets"} | scores)
    return rows
