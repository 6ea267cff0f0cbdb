"""The segmentation loss for per-modality masks."""

from __future__ import annotations

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn


class ModalityDiceBCELoss(nn.Module):
    """Dice + binary cross-entropy of every branch on its own mask (section 4.2, weights 1:1).

    The label map holds one label per combination of modalities in which a voxel is lesion, and the network
    emits one logit per label. Dice over the combinations would punish a perfect prediction where one of them
    is absent; so the loss reads each branch's logit from the channel of its own single-modality label.

    Args:
        membership: `(L, M)` bool; whether label value l is lesion for branch m.
        branch_channels: For each branch the channel of the network's output that is its logit.
        ignore_label: Label value of voxels that are not annotated.
        batch_dice: Dice over the whole batch instead of each sample.
        ddp: Dice over the batches of all ranks, where `batch_dice`.
    """

    membership: Tensor

    def __init__(
        self,
        membership: Tensor,
        branch_channels: list[int],
        ignore_label: int | None,
        batch_dice: bool,
        ddp: bool,
    ) -> None:
        super().__init__()
        self.branch_channels = branch_channels
        # nnU-Net's loss wants the ignored voxels as one more channel of the target.
        if ignore_label is not None:
            rows = max(len(membership), ignore_label + 1)
            table = torch.zeros(rows, membership.shape[1] + 1, dtype=torch.bool)
            table[: len(membership), :-1] = membership
            table[ignore_label] = False
            table[ignore_label, -1] = True
            membership = table
        self.register_buffer("membership", membership.bool(), persistent=False)
        self.loss = DC_and_BCE_loss(
            {},
            {"batch_dice": batch_dice, "do_bg": True, "smooth": 1e-5, "ddp": ddp},
            use_ignore_label=ignore_label is not None,
            dice_class=MemoryEfficientSoftDiceLoss,
        )

    def decode(self, target: Tensor) -> Tensor:
        """Reads masks `(B, M, ...)` out of a label map `(B, 1, ...)`; ignored voxels are one more channel."""
        membership = self.membership.to(target.device)  # nnU-Net does not move its loss to the device
        return membership[target[:, 0].long()].movedim(-1, 1)

    def forward(self, net_output: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of logits `(B, L, ...)` for a label map `(B, 1, ...)`, label -1 being removed."""
        return self.loss(net_output[:, self.branch_channels], self.decode(target))
