"""Phase `fine`: patches train the decoders on frozen encoders, Eq. 5-8."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from nnunet_mgcl.config import FineConfig
from nnunet_mgcl.losses import patch_labels
from nnunet_mgcl.network.branch import UNet, decoder_state, load_encoder
from nnunet_mgcl.network.projection import PatchProjection
from nnunet_mgcl.phases.context import Branch, PhaseContext
from nnunet_mgcl.phases.contrast import contrast, contrast_dataset, has_two_classes
from nnunet_mgcl.phases.seeding import reseed
from nnunet_mgcl.phases.supervised import finish_branch


class Fine:
    """Trains each branch's decoder with the projection head H_p, which is thrown away afterwards."""

    name = "fine"

    def run(self, context: PhaseContext) -> None:
        """Trains every branch; one whose cases hold a single class is skipped and keeps He initialisation."""
        for branch in context.branches:
            if not context.state.is_done(self.name, branch.name):
                self._run_branch(context, branch)

    def _run_branch(self, context: PhaseContext, branch: Branch) -> None:
        reseed(context.config.random_seed, context.fold, self.name, branch.name, "initialisation")
        unet = branch.build_unet()
        weights = context.fold_layout.phase("coarse", branch.name) / "network.pth"
        load_encoder(unet, torch.load(weights, map_location="cpu", weights_only=True))
        dataset = contrast_dataset(context, branch)
        config, ignore_label = context.config.fine, branch.label_manager.ignore_label
        labels_of = partial(
            patch_labels, patch_size=config.patch_size, threshold=config.area_threshold, ignore_label=ignore_label
        )
        if has_two_classes(dataset, labels_of):
            module = FineModel(unet, config, ignore_label)
            contrast(context, self.name, branch, dataset, module, config)
        else:
            context.state.mark_skipped(self.name, branch.name)
            context.log(f"{self.name} {branch.name}: skipped, its cases hold a single class; decoder as initialised")
        finish_branch(context, self.name, branch.name, decoder_state(unet))


class FineModel(nn.Module):
    """z = H_p(f_theta(f_phi(x))), Eq. 5, with the labels of the augmented patches.

    Args:
        unet: The branch's U-Net. Its encoder is frozen; its segmentation layers take no part.
        config: Patch size, threshold and embedding size.
        ignore_label: nnU-Net's ignore label, if any.
    """

    def __init__(self, unet: UNet, config: FineConfig, ignore_label: int | None) -> None:
        super().__init__()
        self.encoder, self.decoder = unet.encoder, unet.decoder
        self.encoder.requires_grad_(False)
        self.decoder.seg_layers.requires_grad_(False)
        self.decoder.seg_layers[-1] = nn.Identity()  # the decoder then returns its full-resolution features
        dimensions = 2 if unet.encoder.conv_op is nn.Conv2d else 3
        self.projection = PatchProjection(
            unet.encoder.output_channels[0], config.embedding_dim, config.patch_size, dimensions
        )
        self.patch_size, self.threshold, self.ignore_label = (
            config.patch_size,
            config.area_threshold,
            ignore_label,
        )

    def train(self, mode: bool = True) -> FineModel:
        """Keeps the encoder in eval mode: a frozen encoder's buffers must not move either."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, data: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings `(B * P, D)` and labels `(B * P,)`, one a patch of the grid."""
        with torch.no_grad():
            skips = self.encoder(data)
        labels = patch_labels(mask, self.patch_size, self.threshold, self.ignore_label)
        return self.projection(self.decoder(skips)), labels.flatten()
