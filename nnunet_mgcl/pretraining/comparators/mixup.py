"""Phase `mixup`: self-training on mixed images (Zhang et al., ICLR 2018)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.supervised_loss import supervised_loss
from nnunet_mgcl.engine.training_loop import Batch, Job
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.plan.config import Positive
from nnunet_mgcl.pretraining.self_train import SelfTrain, SelfTrainSettings


class MixupSettings(SelfTrainSettings):
    """Phase `mixup`: segmentation of mixed labelled and confidently pseudo-labelled images."""

    alpha: Positive = Field(0.2, description="the share of an image is drawn from Beta(alpha, alpha), once a batch")


class Mixup(SelfTrain):
    """`self_train` in which every image is mixed with another of the batch, whatever masks they have."""

    name, title = "mixup", "segmentation of mixed images"
    Settings = MixupSettings

    def _job(self, run: FoldContext, branch: Branch, unet: UNet, dataset: ModalityDataset, epochs: int) -> Job:
        step = partial(self._mixed, run, supervised_loss(run, branch))
        return replace(super()._job(run, branch, unet, dataset, epochs), step=step)

    def _mixed(self, run: FoldContext, loss: nn.Module, unet: nn.Module, batch: Batch) -> tuple[Tensor, None]:
        data, target = (batch[key].to(run.device, non_blocking=True) for key in ("data", "target"))
        alpha = self.settings(run.config).alpha
        return mixup_loss(loss, unet, data, target, float(np.random.beta(alpha, alpha))), None


def mixup_loss(loss: nn.Module, network: nn.Module, images: Tensor, target: Tensor, share: float) -> Tensor:
    r"""Eq. 1 of mixup, in the form of its authors' code, which suits Dice too (a mask cannot be mixed).

    $$L = \lambda L(f(\tilde x), y) + (1 - \lambda) L(f(\tilde x), y_\pi), \quad
        \tilde x = \lambda x + (1 - \lambda) x_\pi$$

    with a random order pi of the batch.

    Args:
        loss: Of outputs and targets.
        network: f.
        images: x `(B, C, ...)`.
        target: y `(B, ...)`.
        share: lambda.
    """
    order = torch.randperm(len(images), device=images.device)
    output = network(images * share + images[order] * (1 - share))
    return share * loss(output, target) + (1 - share) * loss(output, target[order])
