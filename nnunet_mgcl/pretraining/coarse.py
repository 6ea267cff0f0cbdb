"""Phase `coarse`: slices (2d) or slabs (3d) train the encoders, Eq. 1-4."""

from __future__ import annotations

from math import ceil, prod
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext, RunContext
from nnunet_mgcl.losses import slab_labels, slice_labels
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.network.projection import SliceProjection
from nnunet_mgcl.plan.config import BatchSize, Epochs, MGCLConfig, Older
from nnunet_mgcl.pretraining.contrast.phase import ContrastPhase, ContrastSettings
from nnunet_mgcl.pretraining.monitor.probes import SliceProbe
from nnunet_mgcl.system.errors import UserError


class CoarseSettings(ContrastSettings):
    """Phase `coarse`: slices (2d) or slabs (3d) train the encoder, Eq. 1-4."""

    batch_2d = 70  # section 4.2

    epochs: Epochs = Field(120, description="passes over the phase's slices (2d) or cases (3d)")
    batch_size: BatchSize | None = Field(None, description="null: 70 in 2d (4.2), the plan's batch size in 3d")
    pooling: Annotated[Literal["max", "mean"], Older("mean")] = Field(
        "max", description="what H_s sees: the in-plane maximum of every encoder level, or the mean of the deepest one"
    )

    def resolved(self, batch_size: int, patch_size: list[int], where: str) -> CoarseSettings:
        """As of every phase; a batch of a single slice has nothing to compare."""
        filled = super().resolved(batch_size, patch_size, where)
        if len(patch_size) == 2 and filled.batch_size == 1:
            raise UserError(f"{where}.batch_size", "1", "two slices at least: one has no pair", "raise it")
        return filled


class Coarse(ContrastPhase):
    """Trains each branch's encoder with the projection head H_s."""

    name, trains, title = "coarse", ("encoder",), "contrast of slices"
    Settings, figure = CoarseSettings, "Fig. 8 of the paper"

    def labels_of(self, context: FoldContext, branch: Branch, slices: Tensor) -> Tensor:
        """Labels of the slices, or in 3d of about the slabs."""
        ignore_label = branch.label_manager.ignore_label
        if not context.is_3d:
            return slice_labels(slices, ignore_label)
        thickness = prod(stride[0] for stride in branch.configuration.pool_op_kernel_sizes)
        return slab_labels(slices.transpose(0, 1)[None], ceil(len(slices) / thickness), ignore_label)

    def model(self, run: RunContext, branch: Branch, unet: UNet) -> CoarseModel:
        """The encoder with H_s."""
        return self.probe(run.config, branch, unet)

    def probe(self, config: MGCLConfig, branch: Branch, unet: UNet) -> CoarseModel:
        """The same: the report looks at what the phase contrasts."""
        return CoarseModel(unet, self.settings(config), branch.label_manager.ignore_label)


class CoarseModel(SliceProbe):
    """v = H_s(f_phi(x)), Eq. 1, with the labels of the augmented samples.

    Args:
        unet: The branch's U-Net; only its encoder takes part.
        settings: Length of an embedding and pooling.
        ignore_label: nnU-Net's ignore label, if any.
    """

    def __init__(self, unet: UNet, settings: CoarseSettings, ignore_label: int | None) -> None:
        super().__init__(unet, ignore_label)
        self.projection = SliceProjection(unet.encoder.output_channels, settings.embedding_dim, settings.pooling)

    def forward(self, data: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and labels, one a slice `(B,)` in 2d, one a z-position of the deepest map `(B * z,)` in 3d."""
        features = self.features(data)
        return self.projection(features), self.labels(mask, features)

    def pooled(self, features: list[Tensor]) -> Tensor:
        """What H_s sees."""
        return self.projection.pooled(features)
