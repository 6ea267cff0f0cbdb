"""Segmentation measures over cases and over folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnunet_mgcl.data.images.single_slice import NO_THICKNESS
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.measures.segmentation import MEASURES
from nnunet_mgcl.evaluation.statistics.averages import mean_sd
from nnunet_mgcl.evaluation.statistics.intervals import draws, interval

EMPTY = ("empty_reference", "empty_prediction", "both_empty", "one_empty")


def summarise_segmentation(cases: Sequence[CaseScores], folds: Sequence[int]) -> dict[str, Any]:
    """Every measure of every target.

    Returns:
        By target: how many cases have an empty reference, an empty prediction, both or one of them (`one_empty`, which
        counts with the worst value), and by measure `cases` (mean, sd and `median` over the cases, with the interval
        of the mean), `per_fold` (over the cases of a fold) and `folds` (mean
        and sd of the folds' means, the paper's form).
    """
    return {target: _target(target, cases, folds) for target in cases[0].targets}


def _target(target: str, cases: Sequence[CaseScores], folds: Sequence[int]) -> dict[str, Any]:
    scores = [case.targets[target] for case in cases]
    reference, prediction = (np.array([s[key] == 0 for s in scores]) for key in ("lesions", "predicted_lesions"))
    empty = (reference, prediction, reference & prediction, reference ^ prediction)
    measures = {measure: _measure(target, measure, cases, folds) for measure in MEASURES}
    if all(s["volume_ml"] is None for s in scores):
        volumes = measures["volume_difference_ml"]
        for average in (volumes["cases"], volumes["folds"], *volumes["per_fold"].values()):
            average["reason"] = NO_THICKNESS
    return {name: int(which.sum()) for name, which in zip(EMPTY, empty, strict=True)} | measures


def _measure(target: str, measure: str, cases: Sequence[CaseScores], folds: Sequence[int]) -> dict[str, Any]:
    defined = [case for case in cases if case.targets[target][measure] is not None]
    values = np.array([case.targets[target][measure] for case in defined], dtype=float)
    fold_of = np.array([case.fold for case in defined])
    per_fold = {str(fold): mean_sd(values[fold_of == fold], "case") for fold in folds}
    samples = [float(values[draw].mean()) for draw in draws([case.patient for case in defined])]
    median = {"median": float(np.median(values)) if defined else None}
    return {
        "cases": mean_sd(values, "case") | median | interval(samples),
        "folds": mean_sd([fold["mean"] for fold in per_fold.values()], "fold"),
        "per_fold": per_fold,
    }
