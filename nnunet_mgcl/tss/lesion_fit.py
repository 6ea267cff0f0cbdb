"""Fits the head that reads measures of the lesion: convex, so that neither a seed nor an epoch has a say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from nnunet_mgcl.network.lesion_head import Fit, LesionHead

STRENGTH = 1.0
"""Inverse of the L2 penalty on standardised measures; from 0.1 to 10 the AUROC hardly changes (docs/benchmarks.md)."""
FOLDS = 5


def fit_lesion_head(head: LesionHead, measures: Tensor, positive: list[bool]) -> float | None:
    """Standardises by the training cases and fits the penalised likelihood, in float64 and without class weights.

    Args:
        head: Takes the result.
        measures: `(N, measures)` of the training cases.
        positive: Whether the TSS of each is < 4.5 h; both classes occur.

    Returns:
        AUROC of the same fit, cross-validated inside these cases; None with fewer than two cases of a class.
    """
    x, y = measures.double().cpu().numpy(), np.array(positive)
    head.set(*_fitted(x, y))
    folds = min(FOLDS, int(y.sum()), int((~y).sum()))
    if folds < 2:
        return None
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), _regression())
    return float(roc_auc_score(y, cross_val_predict(model, x, y, cv=split, method="decision_function")))


def fit_subset(head: LesionHead, present: Sequence[bool], measures: Tensor, positive: list[bool]) -> None:
    """The same for cases that have some modalities only.

    Args:
        head: Takes the result.
        present: Which modalities.
        measures: `(N, measures)` of the training cases, without the lesions of the others.
        positive: As in `fit_lesion_head`.
    """
    x = measures[:, head.columns(present).to(measures.device)].double().cpu().numpy()
    head.set_subset(present, *_fitted(x, np.array(positive)))


def _fitted(x: np.ndarray, y: np.ndarray) -> Fit:
    scaler = StandardScaler().fit(x)
    regression = _regression().fit(scaler.transform(x), y)
    mean, scale, weight = (torch.from_numpy(value) for value in (scaler.mean_, scaler.scale_, regression.coef_[0]))
    return mean, scale, weight, float(regression.intercept_[0])


def _regression() -> LogisticRegression:
    return LogisticRegression(C=STRENGTH, tol=1e-8, max_iter=10_000)
