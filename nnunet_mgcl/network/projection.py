"""Projection heads of the contrastive phases. They are thrown away after their phase."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SliceProjection(nn.Module):
    """H_s of Eq. 1: the encoder's deepest map to embeddings of slices, or of slabs in 3d.

    The paper does not describe H_s; a two-layer perceptron on the in-plane mean is our choice.

    Args:
        in_features: Channels of the map; also the width of the hidden layer.
        embedding_dim: D, length of an embedding.
    """

    def __init__(self, in_features: int, embedding_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, in_features)
        self.out = nn.Linear(in_features, embedding_dim)

    def forward(self, features: Tensor) -> Tensor:
        """Projects `(B, C, X, Y)` to `(B, D)`, and `(B, C, Z, X, Y)` to `(B * Z, D)`, sample by sample."""
        return _in_full_precision(self.out, F.relu(self.hidden(self.pooled(features))))

    def pooled(self, features: Tensor) -> Tensor:
        """What the layers see, and what is left when they are thrown away: `(B, C)`, or `(B * Z, C)`."""
        pooled = features.mean(dim=(-2, -1))
        return pooled.transpose(1, 2).flatten(0, 1) if pooled.ndim == 3 else pooled


class PatchProjection(nn.Module):
    """H_p of Eq. 5: full-resolution decoder features to embeddings of patches.

    The features are averaged over each patch, so that every stage of the decoder is trained. The grid is that
    of `losses.patch_labels`: in plane only, and a ragged border is a partial patch averaged over its real
    extent. The paper does not describe H_p; two 1 x 1 convolutions are our choice.

    Args:
        in_channels: Channels of the features; also the width of the hidden layer.
        embedding_dim: D, length of an embedding.
        patch_size: Side of a patch in voxels.
        dimensions: 2 or 3.
    """

    def __init__(self, in_channels: int, embedding_dim: int, patch_size: int, dimensions: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.patch_size = patch_size
        self.hidden = convolution(in_channels, in_channels, kernel_size=1)
        self.out = convolution(in_channels, embedding_dim, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Projects `(B, C, [Z,] X, Y)` to `(B * P, D)`, sample by sample, P the patches of a sample."""
        return _samples(_in_full_precision(self.out, F.relu(self.hidden(self._grid(features)))))

    def pooled(self, features: Tensor) -> Tensor:
        """What the layers see, and what is left when they are thrown away: `(B * P, C)`."""
        return _samples(self._grid(features))

    def _grid(self, features: Tensor) -> Tensor:
        planes = features.flatten(1, -3)
        pooled = F.avg_pool2d(planes, self.patch_size, ceil_mode=True, count_include_pad=False)
        return pooled.unflatten(1, features.shape[1:-2])


def _samples(grid: Tensor) -> Tensor:
    """`(B, C, [Z,] X, Y)` as `(B * P, C)`."""
    return grid.flatten(2).transpose(1, 2).flatten(0, 1)


def _in_full_precision(layer: nn.Linear | nn.Conv2d | nn.Conv3d, inputs: Tensor) -> Tensor:
    """Applies a layer in the precision of its weights, also under autocast."""
    with torch.autocast(inputs.device.type, enabled=False):
        return layer(inputs.to(layer.weight.dtype))
