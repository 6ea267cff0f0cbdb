"""Cases of a cross-validation, half of them positive."""

from __future__ import annotations

import numpy as np

from nnunet_mgcl.evaluation.case_scores import CaseScores

FOLDS = 3


def make_cases(per_fold: int, highest: float = 1.0) -> list[CaseScores]:
    """As many cases of each fold, whose probabilities up to `highest` rank better than chance."""
    random, cases = np.random.default_rng(0), []
    for number in range(FOLDS * per_fold):
        name, actual = f"c{number:02}", number % 2
        probability = highest * (0.3 * actual + 0.7 * float(random.random()))
        cases.append(CaseScores(name, number // per_fold, name, {}, actual, probability))
    return cases


def splits_of(cases: list[CaseScores]) -> list[dict[str, list[str]]]:
    """Their split."""
    return [
        {"train": [c.case for c in cases if c.fold != f], "val": [c.case for c in cases if c.fold == f]}
        for f in range(FOLDS)
    ]
