from __future__ import annotations

import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

from nnunet_mgcl.losses import ModalityDiceBCELoss

MEMBERSHIP = torch.tensor([[label & bit > 0 for bit in (1, 2)] for label in range(4)])


def make_loss(ignore_label: int | None = None, batch_dice: bool = False) -> ModalityDiceBCELoss:
    return ModalityDiceBCELoss(MEMBERSHIP, [1, 2], ignore_label, batch_dice, ddp=False)


def test_masks_are_read_by_membership_and_ignored_voxels_are_a_channel() -> None:
    target = torch.tensor([0, 1, 2, 3, 4]).reshape(1, 1, 5)
    assert make_loss().decode(target[..., :4]).int().tolist() == [[[0, 1, 0, 1], [0, 0, 1, 1]]]
    masks = make_loss(ignore_label=4).decode(target)
    assert masks.int().tolist() == [[[0, 1, 0, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]]


def test_loss_fits_nnunet_s_deep_supervision_and_float_targets() -> None:
    targets = [torch.randint(0, 4, (2, 1, side, side)) for side in (8, 4)]
    logits = [torch.randn(2, 4, side, side) for side in (8, 4)]
    loss = make_loss(batch_dice=True)
    expected = 0.75 * loss(logits[0], targets[0]) + 0.25 * loss(logits[1], targets[1])
    wrapped = DeepSupervisionWrapper(loss, [0.75, 0.25])
    torch.testing.assert_close(wrapped(logits, [target.float() for target in targets]), expected)


def test_loss_adds_nothing_to_a_state_dict() -> None:
    assert make_loss().state_dict() == {}
