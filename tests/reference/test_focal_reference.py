"""The focal loss of Lin et al. (2017), FL = -alpha_t (1 - p_t)^gamma log p_t, with plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from nnunet_mgcl.losses import tss_focal_loss

LOGITS = [-3.0, -0.5, 0.0, 0.2, 1.0, 4.0]
TARGETS = [0, 1, 1, 0, 1, 0]


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 2.5])
@pytest.mark.parametrize("alpha", [None, 0.25, 0.5, 1.0])
def test_loss_is_the_mean_focal_loss(gamma: float, alpha: float | None) -> None:
    expected = 0.0
    for logit, y in zip(LOGITS, TARGETS, strict=True):
        rho = 1 / (1 + math.exp(-logit))
        p_t = rho if y else 1 - rho
        alpha_t = 1 if alpha is None else (alpha if y else 1 - alpha)
        expected -= alpha_t * (1 - p_t) ** gamma * math.log(p_t) / len(LOGITS)
    loss = tss_focal_loss(torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(TARGETS), gamma=gamma, alpha=alpha)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(expected, rel=1e-12)
