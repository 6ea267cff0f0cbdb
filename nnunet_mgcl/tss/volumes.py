"""Whole volumes for the TSS head: brought to the size that the plan fixes, and augmented as one."""

from __future__ import annotations

import math

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from torch import Tensor
from torch.nn import functional as F

from nnunet_mgcl.plan.config import TSSConfig
from nnunet_mgcl.system.safe_loading import load_case

MAX_ROTATION = math.radians(15)
ZOOM = (0.85, 1.15)


def load_volume(dataset: nnUNetBaseDataset, case: str) -> Tensor:
    """Reads a whole preprocessed image `(C, Z, Y, X)`, float32."""
    data, *_ = load_case(dataset, case)
    return torch.from_numpy(np.array(data[:], dtype=np.float32))


def fit_volume(volume: Tensor, tss: TSSConfig) -> tuple[Tensor, Tensor]:
    """Brings a volume to the size that the head reads, without cropping anything.

    In plane, what is too large is scaled down (aspect kept, antialiased), then zero-padded around the centre.
    Along z, too many slices are resampled to b (linearly), too few are followed by zero slices.

    Args:
        volume: `(C, Z, Y, X)`, float32.
        tss: A resolved block, whose `slices` (b) and `size` (H, W) it gets.

    Returns:
        The volume `(C, b, H, W)`, and which of its slices are real, `(b,)` bool.
    """
    assert tss.slices and tss.size
    (_, depth, rows, columns), (height, width), slices = volume.shape, tss.size, tss.slices
    scale = min(1.0, height / rows, width / columns)
    if scale < 1:
        rows, columns = max(1, int(rows * scale)), max(1, int(columns * scale))
        volume = F.interpolate(volume, (rows, columns), mode="bilinear", antialias=True)
    if depth > slices:
        lines = F.interpolate(volume.flatten(2)[None], (slices, rows * columns), mode="bilinear", antialias=True)
        volume, depth = lines[0].unflatten(2, (rows, columns)), slices

    top, left = (height - rows) // 2, (width - columns) // 2
    margins = (left, width - columns - left, top, height - rows - top, 0, slices - depth)
    return F.pad(volume, margins), torch.arange(slices, device=volume.device) < depth


def augment_volume(volume: Tensor, generator: torch.Generator) -> Tensor:
    """Flips, rotates and zooms a volume `(C, b, H, W)` in plane, the same way in every slice and channel."""
    return apply_transform(volume, draw_transform(generator))


def draw_transform(generator: torch.Generator) -> Tensor:
    """Draws an in-plane transform: each axis flipped (p 0.5), up to 15 degrees, zoom 0.85 to 1.15.

    Returns:
        `(2, 3)`: maps a voxel of the result to one of the source, both as (x, y) in voxels from the centre.
    """
    draws = torch.rand(4, generator=generator).tolist()
    angle = MAX_ROTATION * (2 * draws[0] - 1)
    zoom = ZOOM[0] + (ZOOM[1] - ZOOM[0]) * draws[1]
    flip_x, flip_y = (-1.0 if draw < 0.5 else 1.0 for draw in draws[2:])
    cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
    return torch.tensor([[cosine * flip_x, -sine * flip_y, 0.0], [sine * flip_x, cosine * flip_y, 0.0]])


def apply_transform(volume: Tensor, theta: Tensor) -> Tensor:
    """Resamples a volume `(C, b, H, W)` in plane, linearly and with zeros from outside.

    Args:
        volume: The source.
        theta: `(2, 3)` in voxels, from `draw_transform`.
    """
    height, width = volume.shape[2:]
    # affine_grid counts from -1 to 1 on both axes: unscaled, a rotation would shear an oblong slice.
    sides = torch.tensor([width, height], dtype=volume.dtype, device=volume.device) / 2
    theta = theta.to(volume) * torch.cat([sides, sides.new_ones(1)]) / sides[:, None]
    planes = volume.flatten(0, 1)[None]
    grid = F.affine_grid(theta[None], list(planes.shape), align_corners=False)
    return F.grid_sample(planes, grid, align_corners=False)[0].view_as(volume)
