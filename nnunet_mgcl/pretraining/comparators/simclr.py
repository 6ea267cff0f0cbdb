"""Phase `simclr`: the other view of a crop among all other crops' (Chen et al., ICML 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import RunContext
from nnunet_mgcl.engine.training_loop import Batch
from nnunet_mgcl.losses import supcon_loss
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.network.projection import CropProjection
from nnunet_mgcl.plan.config import Positive
from nnunet_mgcl.pretraining.comparators.two_views import TwoViews, ViewSettings


class ContrastiveViewSettings(ViewSettings):
    """What the methods that contrast two views with other crops share."""

    temperature: Positive = Field(0.1, description="tau")


class SimCLRSettings(ContrastiveViewSettings):
    """Phase `simclr`: two views of a slice (2d) or patch (3d) are alike, all other slices are not."""


class SimCLR(TwoViews):
    """NT-Xent (Eq. 1): `supcon_loss` with a label for every crop. Positive: the other view. Negatives: all others."""

    name, title = "simclr", "two views of a crop"
    Settings: type[ContrastiveViewSettings] = SimCLRSettings

    def model(self, run: RunContext, branch: Branch, unet: UNet) -> nn.Module:
        """The encoder with a two-layer projection."""
        return ProjectedEncoder(unet, self.settings(run.config).embedding_dim)

    def loss(self, run: RunContext, outputs: Sequence[Tensor], batch: Batch) -> Tensor:
        """NT-Xent over the crops of all processes."""
        (embeddings,) = outputs
        labels = self.labels(run, batch).to(embeddings.device).repeat(self.views)
        return supcon_loss(embeddings.flatten(0, 1), labels, temperature=self.settings(run.config).temperature)

    def labels(self, run: RunContext, batch: Batch) -> Tensor:
        """`(B,)`, one a crop; equal ones are positives."""
        count = len(batch["data"])
        return torch.arange(count) + run.rank * count


class ProjectedEncoder(nn.Module):
    """The encoder and a projection head.

    Args:
        unet: The branch's U-Net; only its encoder takes part.
        embedding_dim: D, length of an embedding.
    """

    def __init__(self, unet: UNet, embedding_dim: int) -> None:
        super().__init__()
        self.encoder = unet.encoder
        channels = unet.encoder.output_channels
        self.projection = CropProjection(channels, [channels[-1], embedding_dim])

    def forward(self, views: Tensor) -> tuple[Tensor]:
        """Views `(V, B, C, [Z,] X, Y)` to embeddings `(V, B, D)`."""
        embeddings = self.projection(self.encoder(views.flatten(0, 1)))
        return (embeddings.unflatten(0, views.shape[:2]),)
