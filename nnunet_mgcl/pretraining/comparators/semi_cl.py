"""Phase `semi_cl`: pixels of one class are alike in all labelled images (Semi-CL; Hu et al., MICCAI 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext, RunContext
from nnunet_mgcl.engine.datasets import labelled_dataset
from nnunet_mgcl.engine.loading import apart
from nnunet_mgcl.engine.results import finish_branch
from nnunet_mgcl.engine.training_loop import Batch, Job, train
from nnunet_mgcl.losses import IGNORE_INDEX, supcon_loss
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.plan.config import BatchSize, Epochs, PhaseSettings, Positive
from nnunet_mgcl.pretraining.comparators.two_views import Width
from nnunet_mgcl.pretraining.handover import state_of
from nnunet_mgcl.pretraining.protocol import Pretext

NO_ANCHOR = "batch without two lesion pixels (zero loss)"


class SemiCLSettings(PhaseSettings):
    """Phase `semi_cl`: pixels of one class are alike in all labelled images; trains the whole U-Net."""

    batch_2d = 4

    epochs: Epochs = Field(60, description="passes over the phase's slices (2d) or cases (3d)")
    batch_size: BatchSize | None = Field(None, description="null: 4 in 2d, the plan's batch size in 3d")
    temperature: Positive = Field(0.1, description="tau")
    embedding_dim: Width = Field(128, description="length of an embedding")
    pixels: Annotated[int, Field(ge=2)] = Field(
        512, description="pixels drawn of each image, half of them of lesions where there are so many"
    )


class SemiCL(Pretext):
    """Stage 2 (Eq. 2): `supcon_loss` of pixels, after `simclr`.

    Anchors: pixels of a lesion. Positives: all other pixels of its class, in both views of all images. Negatives: all
    others, background included, whose pixels are no anchors.
    """

    name, title = "semi_cl", "contrast of labelled pixels"
    trains, views = ("encoder", "decoder"), 2
    Settings = SemiCLSettings

    def model(self, run: RunContext, branch: Branch, unet: UNet) -> nn.Module:
        """The U-Net with a projection in the place of its last segmentation layer."""
        return PixelModel(unet, self.settings(run.config).embedding_dim)

    def train_branch(self, run: FoldContext, branch: Branch, earlier: Sequence[Pretext]) -> None:
        """Trains one branch on the labelled training cases."""
        unet = self.start(run, branch, earlier)
        segmentation = unet.decoder.seg_layers[-1]
        train(run, self.job(run, branch, self.model(run, branch, unet), labelled_dataset(run, branch)))
        unet.decoder.seg_layers[-1] = segmentation
        finish_branch(run, self.name, branch.name, state_of(unet, self.trains))

    def job(
        self, run: RunContext, branch: Branch, model: nn.Module, dataset: ModalityDataset, regions: bool = False
    ) -> Job:
        """The labelled images in two views."""
        job = super().job(run, branch, model, dataset, regions)
        return replace(job, step=partial(self._contrast, run, branch.label_manager.ignore_label))

    def _contrast(
        self, run: RunContext, ignore_label: int | None, model: nn.Module, batch: Batch
    ) -> tuple[Tensor, str | None]:
        settings = self.settings(run.config)
        images, masks = (
            apart(batch[key].to(run.device, non_blocking=True), self.views).flatten(0, 1) for key in ("data", "target")
        )
        masks = masks.flatten(1)
        chosen = draw_pixels(masks, settings.pixels)
        labels = pixel_labels(masks.gather(1, chosen).flatten(), ignore_label, run.rank)
        embeddings = model(images, chosen)
        loss = supcon_loss(embeddings, labels, temperature=settings.temperature, ignore_index=IGNORE_INDEX)
        anchors = run.sum_over_ranks((labels >= 0).sum()[None])[0]
        return loss, NO_ANCHOR if anchors < 2 else None


class PixelModel(nn.Module):
    """The decoder's features at full resolution, projected at some pixels.

    Args:
        unet: The branch's U-Net; its last segmentation layer is taken out.
        embedding_dim: D, length of an embedding.
    """

    def __init__(self, unet: UNet, embedding_dim: int) -> None:
        super().__init__()
        unet.decoder.seg_layers[-1] = nn.Identity()
        self.unet, channels = unet, unet.encoder.output_channels[0]
        self.projection = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, embedding_dim)
        )

    def forward(self, images: Tensor, pixels: Tensor) -> Tensor:
        """Images `(B, C, [Z,] X, Y)` and indices `(B, R)` of their pixels to embeddings `(B * R, D)`."""
        features = self.unet(images).flatten(2)
        chosen = features.gather(2, pixels[:, None].expand(-1, features.shape[1], -1))
        return self.projection(chosen.transpose(1, 2).flatten(0, 1))


def draw_pixels(masks: Tensor, count: int) -> Tensor:
    """Draws different pixels of label maps `(B, N)`, half of them of lesions where there are so many: `(B, R)`."""
    lesion = masks > 0
    share = torch.where(lesion, lesion.sum(1, keepdim=True), (~lesion).sum(1, keepdim=True))
    return torch.multinomial(1 / share.double(), min(count, masks.shape[1]))


def pixel_labels(masks: Tensor, ignore_label: int | None, rank: int = 0) -> Tensor:
    """Labels for `supcon_loss`: a lesion's class; a number of its own for each pixel of the background.

    So a background pixel has no positive: it is no anchor, and a negative of all.

    Args:
        masks: `(N,)` label map; N is the same in all processes.
        ignore_label: Voxels of this label are not annotated: `IGNORE_INDEX`.
        rank: Of this process.
    """
    labels = masks.long()
    numbers = -2 - rank * len(labels) - torch.arange(len(labels), device=labels.device)
    labels = torch.where(labels > 0, labels, numbers)
    return labels if ignore_label is None else labels.masked_fill(masks == ignore_label, IGNORE_INDEX)
