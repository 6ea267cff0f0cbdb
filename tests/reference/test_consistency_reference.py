"""The pool's loss, re-derived with plain loops."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnunet_mgcl.losses.consistency import SMOOTH, consistency_loss


def by_loops(logits: torch.Tensor, target: torch.Tensor, exclusive: bool) -> float:
    """`(B, C, X)` in float64: cross-entropy averaged over voxels (and, of sigmoids, channels) less the mean Dice."""
    samples, channels, voxels = logits.shape
    entropy, overlap, total = 0.0, [0.0] * channels, [0.0] * channels
    for b in range(samples):
        for x in range(voxels):
            weights = [exp(float(logits[b, c, x])) for c in range(channels)]
            for c in range(channels):
                t = float(target[b, c, x])
                p = weights[c] / sum(weights) if exclusive else weights[c] / (1 + weights[c])
                entropy -= t * log(p) + (0 if exclusive else (1 - t) * log(1 - p))
                overlap[c] += p * t
                total[c] += p + t
    entropy /= samples * voxels * (1 if exclusive else channels)
    counted = range(1 if exclusive else 0, channels)
    return entropy - sum((2 * overlap[c] + SMOOTH) / (total[c] + SMOOTH) for c in counted) / len(counted)


@pytest.mark.parametrize("exclusive", [True, False])
def test_loss_is_cross_entropy_less_dice_of_the_batch(exclusive: bool) -> None:
    random = torch.Generator().manual_seed(3)
    logits, other = (torch.randn(2, 3, 5, generator=random) for _ in range(2))
    target = other.softmax(1) if exclusive else other.sigmoid()
    assert float(consistency_loss(logits, target, exclusive)) == pytest.approx(
        by_loops(logits, target, exclusive), 1e-5
    )


def test_with_hard_targets_it_is_the_supervised_loss() -> None:
    logits, labels = torch.randn(3, 3, 8, 9), torch.randint(0, 3, (3, 1, 8, 9))
    hard = torch.zeros_like(logits).scatter_(1, labels, 1)
    dice = {"batch_dice": True, "smooth": SMOOTH, "do_bg": False, "ddp": False}
    supervised = DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)(logits, labels)
    torch.testing.assert_close(consistency_loss(logits, hard, exclusive=True), supervised)
