"""Phases `lclpl_1` to `lclpl_3`: segmentation and local contrast from pseudo-labels (Chaitanya et al., MedIA 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.datasets import labelled_and_pool_dataset, labelled_dataset
from nnunet_mgcl.engine.loading import Sampling, open_batches
from nnunet_mgcl.engine.results import finish_branch
from nnunet_mgcl.engine.supervised_loss import supervised_loss
from nnunet_mgcl.engine.training_loop import Batch, train
from nnunet_mgcl.losses.class_contrast import class_contrast_loss
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.plan.config import Count, Epochs, NonNegative, PhaseSettings, Positive
from nnunet_mgcl.pretraining.comparators.two_views import Width
from nnunet_mgcl.pretraining.handover import state_of
from nnunet_mgcl.pretraining.monitor.lesion_counts import confident_cases
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.pretraining.teacher import SupervisedPhase


class LCLPLSettings(PhaseSettings):
    """Phases `lclpl_1` to `lclpl_3`: segmentation of labelled images with local contrast of these and the pool's."""

    epochs: Epochs = Field(40, description="passes over the phase's samples, in each round of pseudo-labels")
    weight: NonNegative = Field(0.1, description="weight of the local contrast beside Dice + cross-entropy")
    temperature: Positive = Field(0.1, description="tau")
    embedding_dim: Width = Field(16, description="length of an embedding")
    anchors: Count = Field(3, description="voxels drawn of each class and image")


class LCLPL(SupervisedPhase):
    """Eq. 4: the supervised loss, plus the local contrast (Eq. 2) of labelled and confidently pseudo-labelled images.

    Args:
        round_: Whose pseudo-labels it reads; every round goes on with the network of the last.
    """

    block, title = "lclpl", "segmentation with local contrast"
    Settings = LCLPLSettings

    def __init__(self, round_: int) -> None:
        self.round, self.name = round_, f"lclpl_{round_}"
        self.reads = (f"pseudo_label_{round_}",)

    def train_branch(self, run: FoldContext, branch: Branch, earlier: Sequence[Pretext]) -> None:
        """Trains a branch's U-Net and leaves it whole."""
        if not run.pool.get(branch.name):
            return
        unet = self.start(run, branch, earlier)
        settings, labelled = self.settings(run.config), labelled_dataset(run, branch)
        confident = confident_cases(run, branch, round_=self.round)
        run.log(f"{self.name} {branch.name}: {len(confident)} confident pool cases")
        pool = labelled_and_pool_dataset(run, branch, confident, self.round, labelled=[] if confident else None)
        everything = labelled_and_pool_dataset(run, branch, confident, self.round)
        model = LocalContrastModel(unet, settings.embedding_dim)
        job = replace(
            self.job(run, branch, model, everything),
            batches=partial(open_pairs, run, branch, labelled, pool, settings.batch_size),
            step=partial(self._joint, run, branch, supervised_loss(run, branch)),
        )
        train(run, job)
        model.hook.remove()
        finish_branch(run, self.name, branch.name, state_of(unet, self.trains))

    def _joint(
        self, run: FoldContext, branch: Branch, supervised: nn.Module, model: nn.Module, batch: Batch
    ) -> tuple[Tensor, None]:
        settings = self.settings(run.config)
        images, target, pool, pool_target = (
            batch[key].to(run.device, non_blocking=True) for key in ("data", "target", "pool", "pool_target")
        )
        logits, embeddings = model(torch.cat([images, pool]))
        labels = torch.cat([class_labels(own, branch).flatten(1) for own in (target, pool_target)])
        contrast = class_contrast_loss(embeddings.flatten(2), labels, settings.anchors, settings.temperature)
        return supervised(logits[: len(images)], target) + settings.weight * contrast, None


class LocalContrastModel(nn.Module):
    """The U-Net with two 1 x 1 convolutions on its last map.

    Args:
        unet: The branch's U-Net, without deep supervision.
        embedding_dim: D, length of an embedding.
    """

    def __init__(self, unet: UNet, embedding_dim: int) -> None:
        super().__init__()
        self.unet, channels, last = unet, unet.encoder.output_channels[0], unet.decoder.seg_layers[-1]
        self.outputs, convolution = last.out_channels, unet.encoder.conv_op
        self.hook = last.register_forward_hook(lambda _, inputs, output: torch.cat([output, inputs[0]], dim=1))
        self.projection = nn.Sequential(
            convolution(channels, embedding_dim, 1), nn.ReLU(), convolution(embedding_dim, embedding_dim, 1)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images `(B, C, ...)` to logits `(B, L, ...)` and embeddings `(B, D, ...)`."""
        both = self.unet(images)
        return both[:, : self.outputs], self.projection(both[:, self.outputs :])


@contextmanager
def open_pairs(
    run: FoldContext, branch: Branch, labelled: ModalityDataset, pool: ModalityDataset, batch_size: int
) -> Iterator[Iterator[Batch]]:
    """Batches of labelled cases, each with one of the pool's in `pool` and `pool_target`."""
    with (
        open_batches(run, branch, labelled, batch_size, Sampling(regions=True)) as first,
        open_batches(run, branch, pool, batch_size, Sampling()) as second,
    ):
        yield (
            {**own, "pool": other["data"], "pool_target": other["target"], "keys": [*own["keys"], *other["keys"]]}
            for own, other in zip(first, second, strict=True)
        )


def class_labels(target: Tensor, branch: Branch) -> Tensor:
    """Classes of a label map or of region channels `(B, C, ...)`, any region being one class; -1: not annotated."""
    labels = branch.label_manager
    if target.shape[1] == 1:
        classes = target[:, 0].long().clamp(min=0)
        ignored = classes == labels.ignore_label if labels.has_ignore_label else torch.zeros_like(classes).bool()
        return (classes.clamp(max=1) if labels.has_regions else classes).masked_fill(ignored, -1)
    regions, ignored = (target[:, :-1], target[:, -1] > 0) if labels.has_ignore_label else (target, None)
    classes = (regions > 0).any(1).long()
    return classes if ignored is None else classes.masked_fill(ignored, -1)
