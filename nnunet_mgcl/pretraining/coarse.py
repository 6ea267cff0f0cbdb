"""Phase `coarse`: slices (2d) or slabs (3d) train the encoders, Eq. 1-4."""

from __future__ import annotations

from math import ceil, prod

from torch import Tensor, nn

from nnunet_mgcl.engine.context import Branch, PhaseContext
from nnunet_mgcl.losses import slab_labels, slice_labels
from nnunet_mgcl.network.branch import StateDict, UNet, encoder_state
from nnunet_mgcl.network.projection import SliceProjection
from nnunet_mgcl.plan.config import CoarseConfig
from nnunet_mgcl.pretraining.contrast.phase import ContrastPhase
from nnunet_mgcl.pretraining.warm_start import continue_from


class Coarse(ContrastPhase):
    """Trains each branch's encoder with the projection head H_s."""

    name, part = "coarse", "encoder"

    def config(self, context: PhaseContext) -> CoarseConfig:
        """Section 4.2: 120 epochs of batches of 70."""
        return context.config.coarse

    def start(self, context: PhaseContext, branch: Branch) -> UNet:
        """`self_train`'s U-Net, or a new one."""
        unet = branch.build_unet()
        continue_from("self_train", unet, branch.name, context)
        return unet

    def labels_of(self, context: PhaseContext, branch: Branch, slices: Tensor) -> Tensor:
        """Labels of the slices, or in 3d of about the slabs."""
        ignore_label = branch.label_manager.ignore_label
        if not context.is_3d:
            return slice_labels(slices, ignore_label)
        thickness = prod(stride[0] for stride in branch.configuration.pool_op_kernel_sizes)
        return slab_labels(slices.transpose(0, 1)[None], ceil(len(slices) / thickness), ignore_label)

    def model(self, context: PhaseContext, branch: Branch, unet: UNet) -> CoarseModel:
        """The encoder with H_s."""
        return CoarseModel(unet, context.config.coarse, branch.label_manager.ignore_label)

    def result(self, unet: UNet) -> StateDict:
        """The encoder."""
        return encoder_state(unet)


class CoarseModel(nn.Module):
    """v = H_s(f_phi(x)), Eq. 1, with the labels of the augmented samples.

    Args:
        unet: The branch's U-Net; only its encoder takes part.
        config: Length of an embedding and pooling.
        ignore_label: nnU-Net's ignore label, if any.
    """

    def __init__(self, unet: UNet, config: CoarseConfig, ignore_label: int | None) -> None:
        super().__init__()
        self.encoder = unet.encoder
        self.projection = SliceProjection(unet.encoder.output_channels, config.embedding_dim, config.pooling)
        self.ignore_label = ignore_label

    def forward(self, data: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and labels, one a slice `(B,)` in 2d, one a z-position of the deepest map `(B * z,)` in 3d."""
        features = self.features(data)
        return self.projection(features), self.labels(mask, features)

    def features(self, data: Tensor) -> list[Tensor]:
        """The encoder's maps, one a level."""
        return self.encoder(data)

    def labels(self, mask: Tensor, features: list[Tensor]) -> Tensor:
        """Labels of the samples that the features stand for."""
        if mask.ndim == 4:
            return slice_labels(mask, self.ignore_label)
        return slab_labels(mask, features[-1].shape[2], self.ignore_label).flatten()
