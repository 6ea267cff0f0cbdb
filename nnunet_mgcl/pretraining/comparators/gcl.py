"""Phases `gcl_global` and `gcl_local`: partitions of volumes, regions of a map (Chaitanya et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import RunContext
from nnunet_mgcl.engine.training_loop import Batch
from nnunet_mgcl.losses.region_contrast import region_loss
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.plan.config import BatchSize, Epochs, PhaseSettings, Positive
from nnunet_mgcl.pretraining.comparators.positions import PARTITIONS, PartitionLoader
from nnunet_mgcl.pretraining.comparators.simclr import ContrastiveViewSettings, SimCLR
from nnunet_mgcl.pretraining.comparators.two_views import Width
from nnunet_mgcl.pretraining.monitor.probes import PATCH, THRESHOLD, PatchProbe
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.pretraining.strong_views import shade

SIDE = 3
"""Voxels of a region's side, in plane."""


class GCLGlobalSettings(ContrastiveViewSettings):
    """Phase `gcl_global`: slices of the same quarter of any volume are alike."""


class GCLGlobal(SimCLR):
    """G^D (section 3.1): `supcon_loss` with the partition as label. Positives: the same partition of any volume."""

    name, title, loader = "gcl_global", "partitions of the volume", PartitionLoader
    Settings = GCLGlobalSettings

    def labels(self, run: RunContext, batch: Batch) -> Tensor:
        """Numbers of the partitions, from 0."""
        return (batch["positions"] * PARTITIONS).floor().clamp(max=PARTITIONS - 1).long()


class GCLLocalSettings(PhaseSettings):
    """Phase `gcl_local`: a region of the decoder's map is alike in two copies of a slice."""

    batch_2d = 6  # as MGCL's `fine`

    epochs: Epochs = Field(200, description="passes over the phase's slices (2d) or cases (3d)")
    batch_size: BatchSize | None = Field(None, description="null: 6 in 2d, the plan's batch size in 3d")
    temperature: Positive = Field(0.1, description="tau")
    embedding_dim: Width = Field(128, description="length of an embedding")
    regions: Annotated[int, Field(ge=2)] = Field(13, description="regions of 3 x 3 voxels an image")


class GCLLocal(Pretext):
    """L^R (section 3.2). Positive: the same region in the other copy. Negatives: the image's other regions, in both."""

    name, title = "gcl_local", "regions of the decoder's map"
    trains, label_free = ("decoder",), True
    Settings = GCLLocalSettings

    def model(self, run: RunContext, branch: Branch, unet: UNet) -> nn.Module:
        """The decoder on the frozen encoder, with a projection of regions."""
        return RegionModel(unet, self.settings(run.config).embedding_dim)

    def _step(self, run: RunContext, model: nn.Module, batch: Batch) -> tuple[Tensor, None]:
        settings = self.settings(run.config)
        images = batch["data"].to(run.device, non_blocking=True)
        copies = shade(images.repeat(2, *[1] * (images.ndim - 1)))  # intensities only: regions stay where they are
        embeddings = model(copies, draw_regions(images, settings.regions))
        return region_loss(embeddings, settings.temperature), None


class RegionModel(PatchProbe):
    """The means of regions of the decoder's full-resolution map, projected.

    Args:
        unet: The branch's U-Net. Its encoder is frozen; its segmentation layers take no part.
        embedding_dim: D, length of an embedding.
    """

    def __init__(self, unet: UNet, embedding_dim: int) -> None:
        super().__init__(unet, PATCH, THRESHOLD, None)
        channels = unet.encoder.output_channels[0]
        self.projection = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, embedding_dim)
        )

    def train(self, mode: bool = True) -> RegionModel:
        """Keeps the frozen encoder in eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, copies: Tensor, regions: Tensor) -> Tensor:
        """Two copies `(2B, C, [Z,] X, Y)` and B images' regions `(B, R)` to embeddings `(2, B, R, D)`."""
        grid = region_means(self.features(copies)).transpose(1, 2).unflatten(0, (2, -1))  # (2, B, N, C)
        chosen = regions[None, :, :, None].expand(2, -1, -1, grid.shape[-1])
        return self.projection(grid.gather(2, chosen))


def region_means(features: Tensor) -> Tensor:
    """`(B, C, [Z,] X, Y)` to the means of its whole regions, `(B, C, N)`."""
    planes = F.avg_pool2d(features.flatten(1, -3), SIDE)
    return planes.unflatten(1, features.shape[1:-2]).flatten(2)


def draw_regions(images: Tensor, count: int) -> Tensor:
    """Draws different regions of each image `(B, C, [Z,] X, Y)`, as indices `(B, R)` of `region_means`.

    Where the image is constant, as around a head, regions are drawn only if there are not enough others: nothing tells
    them apart.
    """
    images = images.float()
    variance = region_means(images.square()) - region_means(images).square()
    weights = (variance.sum(1) > 1e-6).double() + 1e-9
    return torch.multinomial(weights, min(count, weights.shape[1]))
