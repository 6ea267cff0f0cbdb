from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.losses import tss_focal_loss


def test_loss_is_in_full_precision_under_autocast() -> None:
    logits, targets = torch.tensor([0.3, -1.7, 20.0]), torch.tensor([1, 0, 1])
    expected = tss_focal_loss(logits, targets, gamma=2, alpha=None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(tss_focal_loss(logits, targets, gamma=2, alpha=None), expected)
    assert tss_focal_loss(logits.half(), targets, gamma=2, alpha=None).dtype == torch.float32


def test_loss_and_gradient_stay_finite_for_extreme_logits() -> None:
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4], requires_grad=True)
    loss = tss_focal_loss(logits, torch.tensor([1, 0, 0, 1]), gamma=2, alpha=None)
    loss.backward()
    assert loss.item() == pytest.approx(5e3)
    assert logits.grad.isfinite().all()
