"""How MRFF shares its attention among the modalities, and where its sub-regions lie."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from nnunet_mgcl.network.mrff import MRFF


def modality_attention(head: MRFF, features: Tensor, valid: Tensor, modalities: int) -> Tensor:
    """The share of attention that each modality pays to each other in each sub-region, `(B, m, M, M)`.

    Summed over the slices of the attended modality (last axis), then the mean over the real slices of the attending one
    and over the heads. Rows sum to 1; attention without any preference gives 1 / M everywhere.

    Args:
        head: The trained head.
        features: `(B, T, h, w)`, as `MRFF.forward` reads them; T tokens, modality by modality.
        valid: `(B, T)` bool, False for padded tokens: they neither pay attention here nor get any.
        modalities: M.
    """
    weights = head.attention(head.regions(features.to(head.query.dtype), valid), valid)
    shares = weights.unflatten(-1, (modalities, -1)).sum(dim=-1).mean(dim=2)  # (B, m, T, M)
    real = valid.to(shares.dtype)[:, None, :, None]
    totals = (shares * real).unflatten(2, (modalities, -1)).sum(dim=3)
    return totals / real.unflatten(2, (modalities, -1)).sum(dim=3)


def region_numbers(size: tuple[int, int], strides: tuple[int, int], cells: tuple[int, int], grid: int) -> np.ndarray:
    """The sub-region `(H, W)`, row by row, to which each voxel of the head's input belongs.

    A cell of the map has the middle of what it looks at at a multiple of the total stride (see `perception`), so a
    voxel belongs to the nearest one. Where a side of the map is no multiple of the grid, the pooling before the split
    lets two sub-regions share a row of cells; their border then goes through it.

    Args:
        size: Height and width of the input in voxels.
        strides: Those of the map's level in total.
        cells: Height and width of the map.
        grid: Sub-regions a side.
    """
    rows, columns = (
        np.minimum((np.arange(side) / stride + 0.5) * grid // count, grid - 1).astype(int)
        for side, stride, count in zip(size, strides, cells, strict=True)
    )
    return rows[:, None] * grid + columns
