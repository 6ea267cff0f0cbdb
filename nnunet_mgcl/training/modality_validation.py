"""nnU-Net's online validation for one target per modality."""

from __future__ import annotations

from typing import Any

from nnunetv2.training.loss.dice import get_tp_fp_fn_tn
from torch import nn

from nnunet_mgcl.engine.context import FoldContext


def modality_validation_step(
    context: FoldContext, network: nn.Module, loss: nn.Module, supervised: Any, batch: dict[str, Any], deep: bool
) -> dict[str, Any]:
    """Loss and voxel counts of each modality's lesion on one validation batch, in nnU-Net's format.

    Args:
        context: The fold's.
        network: nnU-Net's, compiled and distributed.
        loss: Of `segment`.
        supervised: Its part for labelled samples, a `ModalityDiceBCELoss` or one in nnU-Net's wrapper.
        batch: nnU-Net's.
        deep: Whether there is deep supervision.
    """
    data, target = batch["data"].to(context.device), batch["target"]
    target = [t.to(context.device) for t in target] if deep else target.to(context.device)
    with context.autocast():
        output = network(data)
        value = loss(output, target)
    if deep:  # the finest resolution counts
        supervised, output, target = supervised.loss, output[0], target[0]
    predicted = output[:, supervised.branch_channels] > 0
    masks = supervised.decode(target)
    counted = None
    if context.ignore_label is not None:
        masks, counted = masks[:, :-1], ~masks[:, -1:]
    axes = [0, *range(2, predicted.ndim)]
    tp, fp, fn, _ = get_tp_fp_fn_tn(predicted.float(), masks.float(), axes=axes, mask=counted)
    hits = {"tp_hard": tp, "fp_hard": fp, "fn_hard": fn}
    return {"loss": value.cpu().numpy(), **{name: count.cpu().numpy() for name, count in hits.items()}}
