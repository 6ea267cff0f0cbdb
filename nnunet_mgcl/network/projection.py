"""Projection heads of the contrastive phases. They are thrown away after their phase."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_mgcl.network.batch_norm import BatchNorm


class SliceProjection(nn.Module):
    """H_s of Eq. 1: the encoder's maps to embeddings of slices, or of slabs in 3d.

    The paper does not describe H_s. Ours takes the in-plane maximum of every level, side by side, normalises each
    number over the batch and applies a two-layer perceptron. The mean would hide what is to be learned: after nnU-Net's
    InstanceNorm it is the same for every slice, but for the non-linearity (docs/method.md, Eq. 1).

    Args:
        channels: Channels of each level.
        embedding_dim: D, length of an embedding.
        pooling: "max", over all levels and normalised; "mean", of the deepest level and not: what older versions did.
    """

    def __init__(self, channels: Sequence[int], embedding_dim: int, pooling: Literal["max", "mean"] = "max") -> None:
        super().__init__()
        self.pooling = pooling
        in_features = sum(channels) if pooling == "max" else channels[-1]
        self.norm = BatchNorm() if pooling == "max" else nn.Identity()
        self.hidden = nn.Linear(in_features, channels[-1])
        self.out = nn.Linear(channels[-1], embedding_dim)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Projects maps `(B, C_l, X_l, Y_l)` to `(B, D)`, and `(B, C_l, Z_l, X_l, Y_l)` to `(B * Z, D)`.

        Z is the number of z-positions of the deepest level; samples come one after the other.
        """
        return _in_full_precision(self.out, F.relu(self.hidden(self.norm(self.pooled(maps)))))

    def pooled(self, maps: Sequence[Tensor]) -> Tensor:
        """What the layers see, and what is left when they are thrown away: `(B, C)`, or `(B * Z, C)`."""
        return _rows(maps[-1].mean(dim=(-2, -1))) if self.pooling == "mean" else plane_maxima(maps)


def plane_maxima(maps: Sequence[Tensor]) -> Tensor:
    """The in-plane maximum of every level, side by side: `(B, C)`, or `(B * Z, C)` at the deepest one's z-positions."""
    return torch.cat([_rows(_to_positions(_plane_maximum(own), maps[-1])) for own in maps], dim=1)


def crop_maxima(maps: Sequence[Tensor]) -> Tensor:
    """The maximum of every level over the whole crop, side by side: maps `(B, C_l, ...)` to `(B, C)`."""
    return torch.cat([own.flatten(2).max(dim=-1).values for own in maps], dim=1)


class CropProjection(nn.Module):
    """The encoder's maps to one embedding a crop, for methods that compare two views of it.

    Sees what H_s sees, so that methods differ in what they compare and not in their heads: the maxima of all levels,
    normalised over the batch. Every hidden layer is followed by batch normalisation and ReLU.

    Args:
        channels: Channels of each level.
        widths: Of the layers, the last of which is the length of an embedding.
        last_norm: Whether the embedding is normalised over the batch as well.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int], last_norm: bool = False) -> None:
        super().__init__()
        self.norm = BatchNorm()
        self.layers = perceptron([sum(channels), *widths], last_norm)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Projects maps `(B, C_l, ...)` to `(B, D)`."""
        return self.layers(self.norm(crop_maxima(maps)))


def perceptron(widths: Sequence[int], last_norm: bool = False) -> nn.Sequential:
    """Linear layers from width to width; each hidden one with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        layers += [nn.Linear(inputs, outputs, bias=False), BatchNorm(), nn.ReLU(inplace=True)]
    layers += [nn.Linear(widths[-2], widths[-1], bias=not last_norm), *([BatchNorm()] if last_norm else [])]
    return nn.Sequential(*layers)


def _plane_maximum(own: Tensor) -> Tensor:
    """`(B, C, [Z,] X, Y)` to `(B, C, [Z])`.

    Not `amax`: its gradient looks for the maximum again by its value, which a compiled float16 graph has not rounded
    alike, so that nothing is found and 0 / 0 follows.
    """
    return own.flatten(-2).max(dim=-1).values


def _to_positions(pooled: Tensor, deepest: Tensor) -> Tensor:
    """`(B, C, Z_l)` to the z-positions of the deepest level, by the bins of `losses.slab_labels`."""
    return F.adaptive_max_pool1d(pooled, deepest.shape[2]) if pooled.ndim == 3 else pooled


def _rows(pooled: Tensor) -> Tensor:
    """`(B, C, Z)` as `(B * Z, C)`."""
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
        return _samples(_in_full_precision(self.out, F.relu(self.hidden(_grid(features, self.patch_size)))))

    def pooled(self, features: Tensor) -> Tensor:
        """What the layers see, and what is left when they are thrown away: `(B * P, C)`."""
        return average_patches(features, self.patch_size)


def average_patches(features: Tensor, patch_size: int) -> Tensor:
    """`(B, C, [Z,] X, Y)` to the means of its patches, `(B * P, C)`."""
    return _samples(_grid(features, patch_size))


def _grid(features: Tensor, patch_size: int) -> Tensor:
    planes = features.flatten(1, -3)
    pooled = F.avg_pool2d(planes, patch_size, ceil_mode=True, count_include_pad=False)
    return pooled.unflatten(1, features.shape[1:-2])


def _samples(grid: Tensor) -> Tensor:
    """`(B, C, [Z,] X, Y)` as `(B * P, C)`."""
    return grid.flatten(2).transpose(1, 2).flatten(0, 1)


def _in_full_precision(layer: nn.Linear | nn.Conv2d | nn.Conv3d, inputs: Tensor) -> Tensor:
    """Applies a layer in the precision of its weights, also under autocast."""
    with torch.autocast(inputs.device.type, enabled=False):
        return layer(inputs.to(layer.weight.dtype))
