"""Phase `fine`: patches train the decoders on frozen encoders, Eq. 5-8."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnunet_mgcl.engine.context import Branch, PhaseContext
from nnunet_mgcl.losses import patch_labels, thin_negatives
from nnunet_mgcl.network.branch import StateDict, UNet, decoder_state, load_encoder
from nnunet_mgcl.network.projection import PatchProjection
from nnunet_mgcl.plan.config import FineConfig
from nnunet_mgcl.pretraining.contrast.phase import ContrastPhase
from nnunet_mgcl.pretraining.warm_start import continue_from, handed_on


class Fine(ContrastPhase):
    """Trains each branch's decoder on `coarse`'s frozen encoder with the projection head H_p."""

    name, part = "fine", "decoder"

    def config(self, context: PhaseContext) -> FineConfig:
        """Section 4.2: 200 epochs of batches of 6."""
        return context.config.fine

    def start(self, context: PhaseContext, branch: Branch) -> UNet:
        """`self_train`'s U-Net, or a new one, with `coarse`'s encoder."""
        unet = branch.build_unet()
        continue_from("self_train", unet, branch.name, context)
        load_encoder(unet, handed_on("coarse", branch.name, context.fold_layout))
        return unet

    def labels_of(self, context: PhaseContext, branch: Branch, slices: Tensor) -> Tensor:
        """Labels of the patches."""
        config = context.config.fine
        assert config.patch_size is not None
        return patch_labels(slices, config.patch_size, config.area_threshold, branch.label_manager.ignore_label)

    def model(self, context: PhaseContext, branch: Branch, unet: UNet) -> FineModel:
        """The U-Net with H_p in the place of its last segmentation layer."""
        return FineModel(unet, context.config.fine, branch.label_manager.ignore_label)

    def result(self, unet: UNet) -> StateDict:
        """The decoder without segmentation layers."""
        return decoder_state(unet)


class FineModel(nn.Module):
    """z = H_p(f_theta(f_phi(x))), Eq. 5, with the labels of the augmented patches.

    Args:
        unet: The branch's U-Net. Its encoder is frozen; its segmentation layers take no part.
        config: Patch size, threshold and embedding size.
        ignore_label: nnU-Net's ignore label, if any.
    """

    def __init__(self, unet: UNet, config: FineConfig, ignore_label: int | None) -> None:
        super().__init__()
        assert config.patch_size is not None
        self.encoder, self.decoder = unet.encoder, unet.decoder
        self.encoder.requires_grad_(False)
        self.decoder.seg_layers.requires_grad_(False)
        self.decoder.seg_layers[-1] = nn.Identity()  # the decoder then returns its full-resolution features
        dimensions = 2 if unet.encoder.conv_op is nn.Conv2d else 3
        self.projection = PatchProjection(
            unet.encoder.output_channels[0], config.embedding_dim, config.patch_size, dimensions
        )
        self.patch_size, self.threshold, self.negatives = config.patch_size, config.area_threshold, config.negatives
        self.ignore_label = ignore_label

    def train(self, mode: bool = True) -> FineModel:
        """Keeps the encoder in eval mode: a frozen encoder's buffers must not move either."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, data: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings `(B * P, D)` and labels `(B * P,)`, one a patch of the grid.

        Few patches are positive. The negative ones are thinned, so that the batch's samples (Omega of Eq. 8) are of
        both classes; the others are labelled `IGNORE_INDEX`.
        """
        features = self.features(data)
        labels = self.labels(mask, features)
        return self.projection(features), labels if self.negatives is None else thin_negatives(labels, self.negatives)

    def features(self, data: Tensor) -> Tensor:
        """The decoder's features at full resolution."""
        with torch.no_grad():
            skips = self.encoder(data)
        return self.decoder(skips)

    def labels(self, mask: Tensor, _: Tensor) -> Tensor:
        """Labels of the patches, whose grid the mask alone decides."""
        return patch_labels(mask, self.patch_size, self.threshold, self.ignore_label).flatten()
