"""What calibration would do to new patients: every validated case calibrated by a map that knows nothing of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nnunet_mgcl.data.splits import Split
from nnunet_mgcl.evaluation.calibration.maps import Calibration, fit_calibration
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.measures.probability import CALIBRATION_MEASURES, calibration_metrics, reliability
from nnunet_mgcl.evaluation.tss_cases import NO_TRAINING_CASES, TSSCases

FoldMaps = Mapping[int, Calibration | str]
"""The map for each fold's validation cases, or why there is none."""


def cross_fit(cases: Sequence[CaseScores], splits: Sequence[Split], folds: Sequence[int]) -> FoldMaps:
    """Fits a map for each fold on the out-of-fold predictions of the fold's training cases.

    Args:
        cases: Every validated case.
        splits: Training and validation cases of every fold of the dataset.
        folds: The evaluated folds.
    """
    whole = TSSCases.of([case for case in cases if not case.lacks])
    training = {fold: whole.training(splits[fold]) for fold in folds}
    return {fold: fit_calibration(p, y) if len(y) else NO_TRAINING_CASES for fold, (p, y) in training.items()}


def calibrated_cases(cases: Sequence[CaseScores], maps: FoldMaps) -> list[CaseScores]:
    """The cases with their cross-fitted probabilities, which stay None where their fold has no map."""
    calibrated = []
    for case in cases:
        calibration = maps[case.fold]
        if case.probability is not None and not case.lacks and not isinstance(calibration, str):
            case = replace(case, calibrated_probability=calibration.apply(case.probability))
        calibrated.append(case)
    return calibrated


def summarise_calibration(data: TSSCases, maps: FoldMaps) -> dict[str, Any]:
    """The map of all cases, and how well raw and cross-fitted probabilities agree with what happened.

    Args:
        data: The cases, with their cross-fitted probabilities.
        maps: What these come from.

    Returns:
        `method`, `parameters`, `cases`, `positive` and `reason` of the map of all cases (none where the cross-fitted
        probabilities have no lower log loss than the raw ones), and of each fold's in
        `per_fold`; measures and points of the reliability diagram of the `raw` and `calibrated` probabilities of the
        same cases (of all cases, where none is calibrated).
    """
    is_calibrated = ~np.isnan(data.calibrated)
    compared = is_calibrated if is_calibrated.any() else np.ones_like(is_calibrated)
    own = fit_calibration(data.probabilities[data.whole], data.actual[data.whole])
    kinds = {"raw": (data.probabilities, compared), "calibrated": (data.calibrated, is_calibrated)}
    measures = {
        kind: data.summarise(list(maps), CALIBRATION_MEASURES, calibration_metrics, p, judged)
        for kind, (p, judged) in kinds.items()
    }
    return {
        **_described(own if isinstance(own, str) else _would_not_help(measures) or own),
        "per_fold": {str(fold): _described(own) for fold, own in maps.items()},
        "measures": measures,
        "reliability": {kind: reliability(p[judged], data.actual[judged]) for kind, (p, judged) in kinds.items()},
    }


def _would_not_help(measures: dict[str, Any]) -> str | None:
    """Why the map of all cases is not worth having; None where cross-fitting lowers the log loss."""
    raw, calibrated = (measures[kind]["pooled"]["log_loss"]["value"] for kind in ("raw", "calibrated"))
    if calibrated is None:
        return "whether calibration would help cannot be told: no fold's cases could be calibrated by the others"
    if calibrated < raw:
        return None
    return f"calibration would not help: cross-fitted log loss {calibrated:.3f}, raw {raw:.3f}"


def _described(calibration: Calibration | str) -> dict[str, Any]:
    if isinstance(calibration, str):
        return dict.fromkeys(Calibration.model_fields) | {"reason": calibration}
    return calibration.model_dump() | {"reason": None}
