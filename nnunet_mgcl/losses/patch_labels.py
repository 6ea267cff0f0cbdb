"""Supervisory signals: masks reduced to the labels of slices, slabs and patches (section 3.2.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE_INDEX = -1
"""The label of a sample of which no voxel is annotated."""


def slice_labels(mask: Tensor, ignore_label: int | None = None) -> Tensor:
    """Labels slices by whether they show a lesion.

    Args:
        mask: `(B, 1, X, Y)` label map; every label above 0 is lesion.
        ignore_label: Voxels of this label are not annotated.

    Returns:
        `(B,)` int64: 1 with any lesion voxel, 0 without, `IGNORE_INDEX` where no voxel is annotated.
    """
    return slab_labels(mask[:, :, None], 1, ignore_label)[:, 0]


def slab_labels(mask: Tensor, positions: int, ignore_label: int | None = None) -> Tensor:
    """Labels the slabs that the z-positions of a feature map stand for.

    Of P slabs the p-th covers the slices from floor(p Z / P) to ceil((p + 1) Z / P): adaptive pooling's bins.

    Args:
        mask: `(B, 1, Z, X, Y)` label map; every label above 0 is lesion.
        positions: P, the number of z-positions.
        ignore_label: Voxels of this label are not annotated.

    Returns:
        `(B, P)` int64: 1 with any lesion voxel, 0 without, `IGNORE_INDEX` where no voxel is annotated.
    """
    lesion, valid = (
        F.adaptive_max_pool1d(voxels.amax(dim=(-2, -1)), positions)[:, 0] > 0
        for voxels in _lesion_and_valid(mask, ignore_label)
    )
    return _as_labels(lesion, valid)


def patch_labels(mask: Tensor, patch_size: int, threshold: float, ignore_label: int | None = None) -> Tensor:
    """Labels the patches of a grid by the area share of the lesion, as in section 4.2.

    A patch is `patch_size` x `patch_size` voxels in plane and one slice thick. Where the plane is no multiple
    of that, the last patches are partial, and their share is that of their real extent.

    Args:
        mask: `(B, 1, X, Y)` or `(B, 1, Z, X, Y)` label map; every label above 0 is lesion.
        patch_size: Side of a patch in voxels.
        threshold: t > 0: a patch is positive when the lesion's share of its annotated voxels is at least t.
        ignore_label: Voxels of this label are not annotated.

    Returns:
        `(B, P)` int64, in the order of the pooled map flattened: 1, 0, or `IGNORE_INDEX` where no voxel of
        the patch is annotated.

    Raises:
        ValueError: The threshold is not positive: every patch would be.
    """
    if threshold <= 0:
        raise ValueError(f"threshold must be positive, found {threshold}")
    lesion, valid = (  # divisor 1: pooling counts voxels
        F.avg_pool2d(voxels.flatten(1, -3), patch_size, ceil_mode=True, divisor_override=1).flatten(1)
        for voxels in _lesion_and_valid(mask, ignore_label)
    )
    return _as_labels(lesion / valid >= threshold, valid > 0)


def thin_negatives(labels: Tensor, ratio: float) -> Tensor:
    """Leaves so many negative samples, drawn at random by torch's seed, that there are `ratio` a positive one.

    The others become `IGNORE_INDEX`: they are no samples of the batch, and the loss's equation stays as it is. Without
    a positive nothing is thinned.

    Args:
        labels: `(N,)` of 1, 0 or `IGNORE_INDEX`.
        ratio: Negative samples a positive one; at least one negative stays.
    """
    negative, positives = (labels == 0).nonzero()[:, 0], (labels == 1).sum()
    keep = torch.where(positives > 0, (positives * ratio).ceil().clamp(min=1), len(negative))
    order = torch.randperm(len(negative), device=labels.device)
    return labels.index_fill(0, negative[order >= keep], IGNORE_INDEX)


def _lesion_and_valid(mask: Tensor, ignore_label: int | None) -> tuple[Tensor, Tensor]:
    """Splits a label map into two float maps of its shape: lesion voxels and annotated voxels."""
    valid = torch.ones_like(mask, dtype=torch.bool) if ignore_label is None else mask != ignore_label
    return ((mask > 0) & valid).float(), valid.float()


def _as_labels(positive: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, positive.long(), IGNORE_INDEX)
