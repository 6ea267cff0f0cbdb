from __future__ import annotations

import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor

from nnunet_mgcl.losses import ModalityDiceBCELoss

MEMBERSHIP = torch.tensor([[label & bit > 0 for bit in (1, 2)] for label in range(4)])


def make_loss(ignore_label: int | None = None, batch_dice: bool = False) -> ModalityDiceBCELoss:
    return ModalityDiceBCELoss(MEMBERSHIP, [1, 2], ignore_label, batch_dice, ddp=False)


def perfect_logits(target: Tensor) -> Tensor:
    """Logits of combinations as the sum of the logits of the branches in them."""
    branches = [30 * (2 * MEMBERSHIP[target[:, 0].clamp(max=3), m].float() - 1) for m in range(2)]
    zero = torch.zeros_like(branches[0])
    return torch.stack([zero, branches[0], branches[1], branches[0] + branches[1]], dim=1)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 0, 0], [1, 1, 0, 0], [3, 3, 3, 3]])
def test_perfect_prediction_reaches_the_minimum_whatever_combinations_occur(labels: list[int]) -> None:
    target = torch.tensor(labels).repeat_interleave(4).reshape(1, 1, 4, 4)
    assert make_loss()(perfect_logits(target), target).item() == pytest.approx(-1, abs=1e-4)


def test_masks_are_read_by_membership_and_ignored_voxels_are_a_channel() -> None:
    target = torch.tensor([0, 1, 2, 3, 4]).reshape(1, 1, 5)
    assert make_loss().decode(target[..., :4]).int().tolist() == [[[0, 1, 0, 1], [0, 0, 1, 1]]]
    masks = make_loss(ignore_label=4).decode(target)
    assert masks.int().tolist() == [[[0, 1, 0, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]]


def test_only_the_branches_own_channels_count() -> None:
    target = torch.randint(0, 4, (2, 1, 4, 4))
    logits = torch.randn(2, 4, 4, 4, requires_grad=True)
    make_loss()(logits, target).backward()
    assert logits.grad[:, [0, 3]].eq(0).all()
    assert logits.grad[:, [1, 2]].ne(0).all()


def test_ignored_voxels_change_nothing() -> None:
    target = torch.randint(0, 4, (2, 1, 4, 4))
    target[:, :, 1] = 4
    logits = torch.randn(2, 4, 4, 4)
    changed = logits.clone()
    changed[:, :, 1] = 50
    loss = make_loss(ignore_label=4)
    torch.testing.assert_close(loss(changed, target), loss(logits, target))


def test_loss_fits_nnunet_s_deep_supervision_and_float_targets() -> None:
    targets = [torch.randint(0, 4, (2, 1, side, side)) for side in (8, 4)]
    logits = [torch.randn(2, 4, side, side) for side in (8, 4)]
    loss = make_loss(batch_dice=True)
    expected = 0.75 * loss(logits[0], targets[0]) + 0.25 * loss(logits[1], targets[1])
    wrapped = DeepSupervisionWrapper(loss, [0.75, 0.25])
    torch.testing.assert_close(wrapped(logits, [target.float() for target in targets]), expected)


def test_loss_adds_nothing_to_a_state_dict() -> None:
    assert make_loss().state_dict() == {}
