"""Segmentation measures over cases and over folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnunet_mgcl.data.images.single_slice import NO_THICKNESS
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.measures.segmentation import MEASURES
from nnunet_mgcl.evaluation.statistics.averages import mean_sd
from nnunet_mgcl.evaluation.statistics.bootstrap import draws, interval


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
    empty = np.array([[s["lesions"] == 0, s["predicted_lesions"] == 0] for s in scores])
    counts = {
        "empty_reference": int(empty[:, 0].sum()),
        "empty_prediction": int(empty[:, 1].sum()),
        "both_empty": int(empty.all(axis=1).sum()),
        "one_empty": int((empty[:, 0] != empty[:, 1]).sum()),
    }
    measures = {measure: _measure(target, measure, cases, folds) for measure in MEASURES}
    if all(s["volume_ml"] is None for s in scores):
        volumes = measures["volume_difference_ml"]
        for average in (volumes["cases"], volumes["folds"], *volumes["per_fold"].values()):
            average["reason"] = NO_THICKNESS
    return counts | measures


def _measure(target: str, measure: str, cases: Sequence[CaseScores], folds: Sequence[int]) -> dict[str, Any]:
    values = {case.case: case.targets[target][measure] for case in cases}
    per_fold = {f: mean_sd([values[case.case] for case in cases if case.fold == f], "case") for f in folds}
    defined = [case for case in cases if values[case.case] is not None]
    numbers = np.array([values[case.case] for case in defined], dtype=float)
    samples = [float(numbers[draw].mean()) for draw in draws([case.patient for case in defined])]
    median = float(np.median(numbers)) if defined else None
    return {
        "cases": mean_sd(values.values(), "case") | {"median": median} | interval(samples),
        "folds": mean_sd([fold["mean"] for fold in per_fold.values()], "fold"),
        "per_fold": {str(fold): value for fold, value in per_fold.items()},
    }
