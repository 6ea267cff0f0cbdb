"""TSS classification over folds and pooled, at no threshold and at chosen ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_mgcl.data.splits import Split
from nnunet_mgcl.evaluation.averages import mean_sd
from nnunet_mgcl.evaluation.bootstrap import Draw, draws, interval
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.metrics import missing_class, rates
from nnunet_mgcl.evaluation.probability_metrics import MEASURES, Classes, Probabilities, probability_metrics
from nnunet_mgcl.evaluation.thresholds import Rule, out_of_fold_threshold, sensitivity_at_least, youden

RATES = ("ACC", "SEN", "SPE")


@dataclass(frozen=True)
class _Cases:
    """The cases with a probability and a known TSS, as arrays `(N,)`."""

    names: list[str]
    folds: np.ndarray
    patients: list[str]
    probabilities: Probabilities
    actual: Classes

    def draws(self, indices: Draw) -> list[Draw]:
        """Resamples of some cases, stratified by class."""
        classes = [bool(self.actual[i]) for i in indices]
        return [indices[draw] for draw in draws([self.patients[i] for i in indices], classes)]


def summarise_tss(
    cases: Sequence[CaseScores], splits: Sequence[Split], folds: Sequence[int], sensitivity: float
) -> dict[str, Any]:
    """All TSS numbers.

    Args:
        cases: Every validated case.
        splits: Training and validation cases of every fold of the dataset.
        folds: The evaluated folds.
        sensitivity: The wanted one, of the third operating point.

    Returns:
        `measures` (threshold-free) and `operating_points`, each with `per_fold`, `folds` (mean and sd over the folds,
        the paper's form) and `pooled` (all cases together, with a bootstrap interval).
    """
    known = [case for case in cases if case.probability is not None and case.tss_class is not None]
    data = _Cases(
        names=[case.case for case in known],
        folds=np.array([case.fold for case in known], dtype=int),
        patients=[case.patient for case in known],
        probabilities=np.array([case.probability for case in known], dtype=float),
        actual=np.array([case.tss_class == 1 for case in known], dtype=bool),
    )
    rules: dict[str, Rule | float] = {
        "0.5": 0.5,
        "youden": youden,
        f"sensitivity_{sensitivity:g}": sensitivity_at_least(sensitivity),
    }
    return {
        "cases": len(known),
        "positive": int(data.actual.sum()),
        "patients": len(set(data.patients)),
        "unknown_tss": len(cases) - len(known),
        "measures": _summarise(
            data, folds, MEASURES, lambda i: probability_metrics(data.probabilities[i], data.actual[i])
        ),
        "operating_points": {name: _operating_point(rule, data, splits, folds) for name, rule in rules.items()},
    }


def _operating_point(rule: Rule | float, data: _Cases, splits: Sequence[Split], folds: Sequence[int]) -> dict[str, Any]:
    """Rates where each fold's cases are judged by a threshold of their own; a fold without one is left out."""
    probabilities = dict(zip(data.names, data.probabilities.tolist(), strict=True))
    actual = dict(zip(data.names, data.actual.tolist(), strict=True))
    chosen: dict[int, tuple[float | None, str | None]] = {
        fold: (rule, None)
        if isinstance(rule, float)
        else out_of_fold_threshold(rule, splits[fold]["train"], splits[fold]["val"], probabilities, actual)
        for fold in folds
    }
    limits = np.array([np.nan if chosen[fold][0] is None else chosen[fold][0] for fold in data.folds], dtype=float)
    positive, judged = data.probabilities >= limits, ~np.isnan(limits)
    summary = _summarise(data, folds, RATES, lambda i: rates(positive[i], data.actual[i]), judged)
    thresholds = {str(fold): {"value": value, "reason": reason} for fold, (value, reason) in chosen.items()}
    return {"thresholds": thresholds, **summary}


def _summarise(
    data: _Cases,
    folds: Sequence[int],
    names: Sequence[str],
    measure: Callable[[np.ndarray], dict[str, Any]],
    judged: Classes | None = None,
) -> dict[str, Any]:
    """Measures of the cases with these indices, for each fold, over the folds and pooled."""
    judged = np.ones(len(data.names), dtype=bool) if judged is None else judged
    per_fold = {}
    for fold in folds:
        own = np.flatnonzero((data.folds == fold) & judged)
        values = measure(own)
        per_fold[str(fold)] = {"cases": len(own), "reason": _reason(data, own)} | {name: values[name] for name in names}
    everyone = np.flatnonzero(judged)
    pooled, samples = measure(everyone), [measure(draw) for draw in data.draws(everyone)]
    intervals = {
        name: interval([sample[name] for sample in samples]) if samples and pooled[name] is not None else None
        for name in names
    }
    return {
        "per_fold": per_fold,
        "folds": {name: mean_sd([fold[name] for fold in per_fold.values()], "fold") for name in names},
        "pooled": {
            "cases": len(everyone),
            "reason": _reason(data, everyone),
            **{name: {"value": pooled[name], "ci95": intervals[name]} for name in names},
        },
    }


def _reason(data: _Cases, indices: Draw) -> str | None:
    """Why something about these cases is undefined."""
    return missing_class(data.actual[indices]) if len(indices) else "no case with a known TSS and a threshold"
