"""TSS classification over folds and pooled, at no threshold and at chosen ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnunet_mgcl.data.splits import Split
from nnunet_mgcl.evaluation.calibration.summary import FoldMaps, summarise_calibration
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.measures.classification import rates
from nnunet_mgcl.evaluation.measures.probability import MEASURES, Probabilities, probability_metrics
from nnunet_mgcl.evaluation.statistics.intervals import ALL_ALIKE, wilson
from nnunet_mgcl.evaluation.thresholds import Rule, out_of_fold_threshold, sensitivity_at_least, youden
from nnunet_mgcl.evaluation.tss_cases import TSSCases

RATES = ("ACC", "SEN", "SPE")

Thresholds = Mapping[int, tuple[float | None, str | None]]
"""Each fold's, or None and the reason."""


def summarise_tss(
    cases: Sequence[CaseScores], maps: FoldMaps, splits: Sequence[Split], folds: Sequence[int], sensitivity: float
) -> dict[str, Any]:
    """All TSS numbers.

    Args:
        cases: Every validated case.
        maps: What calibrated them.
        splits: Training and validation cases of every fold of the dataset.
        folds: The evaluated folds.
        sensitivity: The wanted one, of the last operating point.

    Returns:
        `measures` (threshold-free) and `operating_points`, each with `per_fold`, `folds` (mean and sd over the folds,
        the paper's form) and `pooled` (all cases together, with a bootstrap interval); and `calibration`.
    """
    data = TSSCases.of(cases)
    everyone = np.ones(len(data.names), dtype=bool)

    def by(rule: Rule) -> Thresholds:
        return {fold: out_of_fold_threshold(rule, data, splits[fold]) for fold in folds}

    half = {fold: (None, own) if isinstance(own, str) else (0.5, None) for fold, own in maps.items()}
    points: dict[str, tuple[Probabilities, Thresholds]] = {
        "0.5": (data.probabilities, dict.fromkeys(folds, (0.5, None))),
        "calibrated_0.5": (data.calibrated, half),
        "youden": (data.probabilities, by(youden)),
        f"sensitivity_{sensitivity:g}": (data.probabilities, by(sensitivity_at_least(sensitivity))),
    }
    return {
        "cases": len(data.names),
        "positive": int(data.actual.sum()),
        "patients": len(set(data.patients)),
        "unknown_tss": len(cases) - len(data.names),
        "measures": data.summarise(folds, MEASURES, probability_metrics, data.probabilities, everyone),
        "operating_points": {name: operating_point(data, *point) for name, point in points.items()},
        "calibration": summarise_calibration(data, maps),
    }


def operating_point(data: TSSCases, probabilities: Probabilities, chosen: Thresholds) -> dict[str, Any]:
    """Rates where each fold's cases are judged by a threshold of their own; a fold without one is left out."""
    limits = np.array([np.nan if chosen[fold][0] is None else chosen[fold][0] for fold in data.folds], dtype=float)
    positive, judged = probabilities >= limits, ~np.isnan(limits)
    summary = data.summarise(list(chosen), RATES, rates, positive, judged)
    counted = {"ACC": judged, "SEN": judged & data.actual, "SPE": judged & ~data.actual}
    for rate, which in counted.items():
        own = summary["pooled"][rate]
        own["n"] = int(which.sum())
        if own["ci_reason"] == ALL_ALIKE:  # 5 of 5 hits do not prove that every one will be
            own |= {"ci95": wilson(round(own["value"] * own["n"]), own["n"]), "ci_method": "wilson", "ci_reason": None}
    thresholds = {str(fold): {"value": value, "reason": reason} for fold, (value, reason) in chosen.items()}
    return {"thresholds": thresholds, **summary}
