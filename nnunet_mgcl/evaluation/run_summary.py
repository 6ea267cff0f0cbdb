"""All numbers of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nnunet_mgcl import __version__
from nnunet_mgcl.evaluation.calibration.summary import calibrated_cases, cross_fit
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.segmentation_summary import summarise_segmentation
from nnunet_mgcl.evaluation.statistics.bootstrap import LEVEL, RESAMPLES, SEED
from nnunet_mgcl.evaluation.tss_summary import summarise_tss


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
