"""Phase `simsiam`: two views agree, the gradient of one being stopped (Chen and He, CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import RunContext
from nnunet_mgcl.engine.training_loop import Batch
from nnunet_mgcl.losses.agreement import simsiam_loss
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.network.projection import CropProjection, perceptron
from nnunet_mgcl.pretraining.comparators.two_views import TwoViews, ViewSettings, Width


class SimSiamSettings(ViewSettings):
    """Phase `simsiam`: two views of a slice (2d) or patch (3d) agree, without negatives."""

    embedding_dim: Width = Field(256, description="length of an embedding, and width of the projector")
    bottleneck: Width = Field(64, description="width of the predictor's hidden layer")


class SimSiam(TwoViews):
    """Eq. 1 to 4. Positive: the other view through the same network. There are no negatives."""

    name, title = "simsiam", "two views agree (stopped gradient)"
    Settings = SimSiamSettings

    def model(self, run: RunContext, branch: Branch, unet: UNet) -> nn.Module:
        """The encoder with projector and predictor."""
        return SimSiamModel(unet, self.settings(run.config))

    def loss(self, run: RunContext, outputs: Sequence[Tensor], batch: Batch) -> Tensor:
        """The symmetric loss."""
        embeddings, predictions = outputs
        return simsiam_loss(predictions, embeddings)


class SimSiamModel(nn.Module):
    """z = g(f(x)) and p = h(z). Each view is normalised by itself, as in two passes.

    Args:
        unet: The branch's U-Net; only its encoder takes part.
        settings: The widths.
    """

    def __init__(self, unet: UNet, settings: SimSiamSettings) -> None:
        super().__init__()
        self.encoder, width = unet.encoder, settings.embedding_dim
        self.projector = CropProjection(unet.encoder.output_channels, [width] * 3, last_norm=True)
        self.predictor = perceptron([width, settings.bottleneck, width])

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Views `(2, B, C, [Z,] X, Y)` to z and p `(2, B, D)`."""
        return through_heads(self.encoder, self.projector, self.predictor, views)


def through_heads(
    encoder: nn.Module, projector: nn.Module, predictor: nn.Module, views: Tensor
) -> tuple[Tensor, Tensor]:
    """Gives z and p `(2, B, D)` of views `(2, B, C, [Z,] X, Y)`: one pass of the encoder, the heads view by view."""
    maps = [own.chunk(2) for own in encoder(views.flatten(0, 1))]
    embeddings = [projector([own[view] for own in maps]) for view in range(2)]
    predictions = [predictor(own) for own in embeddings]
    return torch.stack(embeddings), torch.stack(predictions)
