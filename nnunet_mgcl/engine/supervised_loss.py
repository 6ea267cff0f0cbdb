"""Dice + cross-entropy of one branch's U-Net, on nnU-Net's batches or on whole masks."""

from __future__ import annotations

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import Tensor, nn

from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.training_loop import Batch


def supervised_loss(context: FoldContext, branch: Branch, over_ranks: bool = True) -> nn.Module:
    """nnU-Net's Dice + cross-entropy (Dice + BCE for regions), without deep supervision.

    Args:
        context: The phase's context.
        branch: The branch.
        over_ranks: Whether the batches of all processes count as one; then all of them have to compute it.
    """
    labels = branch.label_manager
    dice = {
        "batch_dice": branch.configuration.batch_dice,
        "smooth": 1e-5,
        "do_bg": labels.has_regions,
        "ddp": over_ranks and context.world_size > 1,
    }
    if labels.has_regions:
        return DC_and_BCE_loss(
            {}, dice, use_ignore_label=labels.has_ignore_label, dice_class=MemoryEfficientSoftDiceLoss
        )
    return DC_and_CE_loss(dice, {}, ignore_label=labels.ignore_label, dice_class=MemoryEfficientSoftDiceLoss)


def supervised_step(context: FoldContext, loss: nn.Module, unet: nn.Module, batch: Batch) -> tuple[Tensor, None]:
    """Loss of one batch of nnU-Net's loader."""
    data = batch["data"].to(context.device, non_blocking=True)
    target = batch["target"].to(context.device, non_blocking=True)
    return loss(unet(data), target), None


def as_target(mask: Tensor, labels: LabelManager) -> Tensor:
    """A label map `(B, 1, ...)` as nnU-Net's augmentation hands it to the loss: -1 is 0, regions are channels."""
    mask = mask.clamp(min=0)
    if not labels.has_regions:
        return mask
    regions = [*labels.foreground_regions, *([labels.ignore_label] if labels.has_ignore_label else [])]
    return torch.cat([torch.isin(mask, torch.as_tensor(region)) for region in regions], dim=1)
