"""nnU-Net's online validation for one target a modality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnunetv2.training.loss.dice import get_tp_fp_fn_tn

if TYPE_CHECKING:
    from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


def modality_validation_step(trainer: MGCLTrainer, batch: dict[str, Any]) -> dict[str, Any]:
    """Loss and voxel counts of each modality's lesion on one validation batch, in nnU-Net's format."""
    data, target = batch["data"].to(trainer.device), batch["target"]
    target = [t.to(trainer.device) for t in target] if trainer.enable_deep_supervision else target.to(trainer.device)
    assert trainer.context is not None
    with trainer.context.autocast():
        output = trainer.network(data)
        loss = trainer.loss(output, target)
    modality_loss = trainer.supervised_loss
    if trainer.enable_deep_supervision:  # the finest resolution counts
        modality_loss, output, target = modality_loss.loss, output[0], target[0]
    predicted = output[:, modality_loss.branch_channels] > 0
    masks = modality_loss.decode(target)
    counted = None
    if trainer.label_manager.has_ignore_label:
        masks, counted = masks[:, :-1], ~masks[:, -1:]
    axes = [0, *range(2, predicted.ndim)]
    tp, fp, fn, _ = get_tp_fp_fn_tn(predicted.float(), masks.float(), axes=axes, mask=counted)
    hits = {"tp_hard": tp, "fp_hard": fp, "fn_hard": fn}
    return {"loss": loss.cpu().numpy(), **{name: count.cpu().numpy() for name, count in hits.items()}}
