"""Phase `coarse`: slices (2d) or slabs (3d) train the encoders, Eq. 1-4."""

from __future__ import annotations

from functools import partial
from math import ceil, prod

from torch import Tensor, nn

from nnunet_mgcl.losses import slab_labels, slice_labels
from nnunet_mgcl.network.branch import UNet, encoder_state
from nnunet_mgcl.network.projection import SliceProjection
from nnunet_mgcl.phases.context import Branch, PhaseContext
from nnunet_mgcl.phases.contrast import contrast, contrast_dataset, has_two_classes
from nnunet_mgcl.phases.seeding import reseed
from nnunet_mgcl.phases.supervised import finish_branch


class Coarse:
    """Trains each branch's encoder with the projection head H_s, which is thrown away afterwards."""

    name = "coarse"

    def run(self, context: PhaseContext) -> None:
        """Trains every branch; one whose cases hold a single class is skipped and keeps He initialisation."""
        for branch in context.branches:
            if not context.state.is_done(self.name, branch.name):
                self._run_branch(context, branch)

    def _run_branch(self, context: PhaseContext, branch: Branch) -> None:
        reseed(context.config.random_seed, context.fold, self.name, branch.name, "initialisation")
        unet = branch.build_unet()
        dataset = contrast_dataset(context, branch)
        if has_two_classes(dataset, partial(_labels_of_slices, context, branch)):
            module = CoarseModel(unet, context.config.coarse.embedding_dim, branch.label_manager.ignore_label)
            contrast(context, self.name, branch, dataset, module, context.config.coarse)
        else:
            context.state.mark_skipped(self.name, branch.name)
            context.log(f"{self.name} {branch.name}: skipped, its cases hold a single class; encoder as initialised")
        finish_branch(context, self.name, branch.name, encoder_state(unet))


def _labels_of_slices(context: PhaseContext, branch: Branch, slices: Tensor) -> Tensor:
    """Labels of the samples in a whole mask `(Z, 1, X, Y)`: of its slices, or in 3d of about its slabs."""
    ignore_label = branch.label_manager.ignore_label
    if not context.is_3d:
        return slice_labels(slices, ignore_label)
    thickness = prod(stride[0] for stride in branch.configuration.pool_op_kernel_sizes)
    return slab_labels(slices.transpose(0, 1)[None], ceil(len(slices) / thickness), ignore_label)


class CoarseModel(nn.Module):
    """v = H_s(f_phi(x)), Eq. 1, with the labels of the augmented samples.

    Args:
        unet: The branch's U-Net; only its encoder takes part.
        embedding_dim: Length of an embedding.
        ignore_label: nnU-Net's ignore label, if any.
    """

    def __init__(self, unet: UNet, embedding_dim: int, ignore_label: int | None) -> None:
        super().__init__()
        self.encoder = unet.encoder
        self.projection = SliceProjection(unet.encoder.output_channels[-1], embedding_dim)
        self.ignore_label = ignore_label

    def forward(self, data: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and labels, one a slice `(B,)` in 2d, one a z-position of the deepest map `(B * z,)` in 3d."""
        deepest = self.encoder(data)[-1]
        if data.ndim == 4:
            labels = slice_labels(mask, self.ignore_label)
        else:
            labels = slab_labels(mask, deepest.shape[2], self.ignore_label).flatten()
        return self.projection(deepest), labels
