"""Dice + binary cross-entropy of each branch on its own mask, with plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from nnunet_mgcl.losses import ModalityDiceBCELoss
from nnunet_mgcl.network.fusion import CombinationFusion

MODALITIES, LABELS, IGNORED = 3, 8, 8
CHANNELS = [1, 2, 4]


def is_lesion(label: int, branch: int) -> bool:
    """The bit mask DWI = 1, FLAIR = 2, PWI = 4."""
    return label in ([1, 3, 5, 7], [2, 3, 6, 7], [4, 5, 6, 7])[branch]


def expected_loss(logits: torch.Tensor, target: torch.Tensor, batch_dice: bool, ignore: bool) -> float:
    samples = [(logits[b].flatten(1).double().tolist(), target[b].flatten().tolist()) for b in range(len(logits))]
    scores, cross_entropy, annotated = [], 0.0, 0
    groups = [samples] if batch_dice else [[sample] for sample in samples]
    for group in groups:
        for branch in range(MODALITIES):
            both = predicted = true = 0.0
            for channels, labels in group:
                for logit, label in zip(channels[CHANNELS[branch]], labels, strict=True):
                    if label == IGNORED:
                        continue
                    p, y = 1 / (1 + math.exp(-logit)), is_lesion(label, branch)
                    both, predicted, true = both + p * y, predicted + p, true + y
                    cross_entropy -= math.log(p if y else 1 - p)
                    annotated += branch == 0
            scores.append((2 * both + 1e-5) / (predicted + true + 1e-5))
    # nnU-Net averages the cross-entropy over voxels and channels, but only over voxels with an ignore label.
    voxels = annotated if ignore else annotated * MODALITIES
    return cross_entropy / voxels - sum(scores) / len(scores)


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 4)])
def test_loss_is_dice_plus_cross_entropy_of_each_branch(shape: tuple[int, ...], ignore: bool, batch_dice: bool) -> None:
    torch.manual_seed(7)
    logits, target = torch.randn(2, LABELS, *shape), torch.randint(0, LABELS + ignore, (2, 1, *shape))
    membership = torch.tensor([[is_lesion(label, m) for m in range(MODALITIES)] for label in range(LABELS)])
    loss = ModalityDiceBCELoss(membership, CHANNELS, IGNORED if ignore else None, batch_dice, ddp=False)
    expected = expected_loss(logits, target, batch_dice, ignore)
    assert loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_branch_that_a_case_lacks_teaches_nothing_and_the_others_as_before(batch_dice: bool) -> None:
    """Its Dice is left out of the sums, its cross-entropy is 0: the gradient is that of the loops without it."""
    torch.manual_seed(3)
    own = 2 * torch.randn(2, MODALITIES, 4, 5, dtype=torch.float64)
    cases = torch.tensor([[True, False, True], [True, True, False]])
    bits = torch.tensor([[is_lesion(label, m) for m in range(MODALITIES)] for label in range(LABELS)])
    target = torch.zeros(2, 1, 4, 5, dtype=torch.long)
    for sample in range(2):  # no lesion of what it lacks
        target[sample] = sum((1 << m) * torch.randint(0, 2, (1, 4, 5)) for m in range(MODALITIES) if cases[sample, m])
    loss = ModalityDiceBCELoss(bits, CHANNELS, None, batch_dice, ddp=False)

    def gradient(of) -> torch.Tensor:
        logits = own.clone().requires_grad_()
        return torch.autograd.grad(of(logits), logits)[0]

    def through_fusion(logits: torch.Tensor) -> torch.Tensor:
        return loss(CombinationFusion(bits)(list(logits.split(1, dim=1)), cases), target)

    def loops(logits: torch.Tensor) -> torch.Tensor:
        total, voxels = torch.zeros((), dtype=torch.float64), own.numel()
        for branch in range(MODALITIES):
            has = [sample for sample in range(2) if cases[sample, branch]]
            p = {sample: logits[sample, branch].sigmoid() for sample in has}
            y = {sample: bits[target[sample, 0], branch].double() for sample in has}
            for group in [has] if batch_dice else [[sample] for sample in has]:
                both, sums = sum((p[s] * y[s]).sum() for s in group), sum((p[s] + y[s]).sum() for s in group)
                total = total - (2 * both + 1e-5) / (sums + 1e-5) / (MODALITIES * (1 if batch_dice else 2))
            for s in has:
                total = total - (y[s] * p[s].log() + (1 - y[s]) * (1 - p[s]).log()).sum() / voxels
        return total

    found = gradient(through_fusion)
    torch.testing.assert_close(found, gradient(loops), rtol=1e-5, atol=1e-9)
    assert not found[~cases].any() and found[cases].any()
