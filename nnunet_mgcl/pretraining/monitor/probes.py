"""How samples of whole cases are represented and labelled, to see what a phase has learned of lesions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nnunet_mgcl.losses import patch_labels, slab_labels, slice_labels
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.network.projection import average_patches, plane_maxima

PATCH, THRESHOLD = 8, 0.1
"""Side of a patch in voxels, and its lesion share, where a method has none of its own."""


class Probe(nn.Module):
    """Takes images to features, features to the samples' representations, and masks to their labels."""

    def features(self, data: Tensor) -> Any:
        """Features of images `(B, C, [Z,] X, Y)`."""
        raise NotImplementedError

    def pooled(self, features: Any) -> Tensor:
        """The samples' representations `(n, C)`."""
        raise NotImplementedError

    def labels(self, mask: Tensor, features: Any) -> Tensor:
        """The samples' labels `(n,)`: 1 lesion, 0 none, below that not annotated."""
        raise NotImplementedError


class SliceProbe(Probe):
    """Slices, in 3d slabs, by the in-plane maxima of every level of the encoder.

    Args:
        unet: The branch's U-Net; only its encoder takes part.
        ignore_label: nnU-Net's ignore label, if any.
    """

    def __init__(self, unet: UNet, ignore_label: int | None) -> None:
        super().__init__()
        self.encoder, self.ignore_label = unet.encoder, ignore_label

    def features(self, data: Tensor) -> list[Tensor]:
        """The encoder's maps, one per level."""
        return self.encoder(data)

    def pooled(self, features: list[Tensor]) -> Tensor:
        """One a slice `(B, C)` in 2d, one a z-position of the deepest map `(B * z, C)` in 3d."""
        return plane_maxima(features)

    def labels(self, mask: Tensor, features: list[Tensor]) -> Tensor:
        """Labels of the samples that the features stand for."""
        if mask.ndim == 4:
            return slice_labels(mask, self.ignore_label)
        return slab_labels(mask, features[-1].shape[2], self.ignore_label).flatten()


class PatchProbe(Probe):
    """Patches by the mean of the decoder's features at full resolution. The encoder is frozen.

    Args:
        unet: The branch's U-Net; its segmentation layers take no part.
        patch_size: Side of a patch in plane, in voxels.
        threshold: Lesion share from which on a patch is positive.
        ignore_label: nnU-Net's ignore label, if any.
    """

    def __init__(self, unet: UNet, patch_size: int, threshold: float, ignore_label: int | None) -> None:
        super().__init__()
        self.encoder, self.decoder = unet.encoder, unet.decoder
        self.encoder.requires_grad_(False)
        self.decoder.seg_layers.requires_grad_(False)
        self.decoder.seg_layers[-1] = nn.Identity()  # the decoder then returns its full-resolution features
        self.patch_size, self.threshold, self.ignore_label = patch_size, threshold, ignore_label

    def features(self, data: Tensor) -> Tensor:
        """The decoder's features at full resolution."""
        with torch.no_grad():
            skips = self.encoder(data)
        return self.decoder(skips)

    def pooled(self, features: Tensor) -> Tensor:
        """`(B * P, C)`, sample by sample, P the patches of a sample."""
        return average_patches(features, self.patch_size)

    def labels(self, mask: Tensor, _: Tensor) -> Tensor:
        """Labels of the patches, whose grid the mask alone decides."""
        return patch_labels(mask, self.patch_size, self.threshold, self.ignore_label).flatten()


def default_probe(unit: str | None, unet: UNet, ignore_label: int | None) -> Probe:
    """The probe for slices or patches of a method that has no samples of its own."""
    if unit == "slices":
        return SliceProbe(unet, ignore_label)
    return PatchProbe(unet, PATCH, THRESHOLD, ignore_label)
