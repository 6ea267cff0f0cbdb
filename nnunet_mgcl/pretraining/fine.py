"""Phase `fine`: patches train the decoders on frozen encoders, Eq. 5-8."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext, RunContext
from nnunet_mgcl.losses import patch_labels, thin_negatives
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.network.projection import PatchProjection
from nnunet_mgcl.plan.config import BatchSize, Count, Epochs, MGCLConfig, Older, Positive, Share
from nnunet_mgcl.pretraining.contrast.phase import ContrastPhase, ContrastSettings
from nnunet_mgcl.pretraining.monitor.probes import PatchProbe
from nnunet_mgcl.system.errors import UserError

PATCHES_A_SIDE = 32
"""Section 4.2: patches of 16 x 16 in slices of 512 x 512."""


class FineSettings(ContrastSettings):
    """Phase `fine`: patches train the decoder, Eq. 5-8."""

    batch_2d = 6  # section 4.2

    epochs: Epochs = Field(200, description="passes over the phase's slices (2d) or cases (3d)")
    batch_size: BatchSize | None = Field(None, description="null: 6 in 2d (4.2), the plan's batch size in 3d")
    patch_size: Count | None = Field(
        None,
        description="side of a patch in plane, in voxels; null: a 32nd of the plan's patch (4.2: 16 of 512), 4 to 16",
    )
    negatives: Annotated[Positive | None, Older(None)] = Field(
        3.0, description="negative patches of a batch a positive one, drawn at random; null: all"
    )
    area_threshold: Share = Field(0.1, description="t: a patch is positive from this lesion share on")

    def resolved(self, batch_size: int, patch_size: list[int], where: str) -> FineSettings:
        """As of every phase, with the side of a patch."""
        plane = patch_size[-2:]
        side = self.patch_size or min(16, max(4, round(min(plane) / PATCHES_A_SIDE)))
        if side > min(plane):
            expected = f"at most the smaller side of the plan's patch {plane}"
            raise UserError(f"{where}.patch_size", str(side), expected, "lower it")
        return super().resolved(batch_size, patch_size, where).model_copy(update={"patch_size": side})


class Fine(ContrastPhase):
    """Trains each branch's decoder on `coarse`'s frozen encoder with the projection head H_p."""

    name, trains, title = "fine", ("decoder",), "contrast of patches"
    Settings, figure = FineSettings, "Fig. 9 of the paper"

    def labels_of(self, context: FoldContext, branch: Branch, slices: Tensor) -> Tensor:
        """Labels of the patches."""
        own = self.settings(context.config)
        return patch_labels(slices, own.patch_size, own.area_threshold, branch.label_manager.ignore_label)

    def model(self, run: RunContext, branch: Branch, unet: UNet) -> FineModel:
        """The U-Net with H_p in the place of its last segmentation layer."""
        return self.probe(run.config, branch, unet)

    def probe(self, config: MGCLConfig, branch: Branch, unet: UNet) -> FineModel:
        """The same: the report looks at what the phase contrasts."""
        return FineModel(unet, self.settings(config), branch.label_manager.ignore_label)


class FineModel(PatchProbe):
    """z = H_p(f_theta(f_phi(x))), Eq. 5, with the labels of the augmented patches.

    Args:
        unet: The branch's U-Net. Its encoder is frozen; its segmentation layers take no part.
        settings: Patch size, threshold and embedding size.
        ignore_label: nnU-Net's ignore label, if any.
    """

    def __init__(self, unet: UNet, settings: FineSettings, ignore_label: int | None) -> None:
        assert settings.patch_size is not None
        super().__init__(unet, settings.patch_size, settings.area_threshold, ignore_label)
        channels, dimensions = unet.encoder.output_channels[0], 2 if unet.encoder.conv_op is nn.Conv2d else 3
        self.projection = PatchProjection(channels, settings.embedding_dim, settings.patch_size, dimensions)
        self.negatives = settings.negatives

    def train(self, mode: bool = True) -> FineModel:
        """Keeps the encoder in eval mode: a frozen encoder's buffers must not move either."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, data: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings `(B * P, D)` and labels `(B * P,)`, one per patch of the grid.

        Few patches are positive. The negative ones are thinned, so that the batch's samples (Omega of Eq. 8) are of
        both classes; the others are labelled `IGNORE_INDEX`.
        """
        features = self.features(data)
        labels = self.labels(mask, features)
        return self.projection(features), labels if self.negatives is None else thin_negatives(labels, self.negatives)
