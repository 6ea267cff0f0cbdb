"""What the heads that look at the lesion read: a few measures of it, or where in the slices it is.

Both are computed from the network's own segmentation, never from a reference, so that a case is read in the same way
in training, validation and prediction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

AXES = (2, 3, 4)


def lesion_measures(volumes: Tensor, lesions: Tensor, valid: Tensor, channels: Sequence[Sequence[int]]) -> Tensor:
    """The relative size of each modality's lesion, and how each channel looks in it.

    A voxel weighs p^2 in the lesion of a modality, p being its predicted lesion probability: that is near the mask's
    0 or 1, and the small probabilities of a large background add up to nothing.

    - Share: log of the lesion's size over that of the union of all modalities' lesions. What grows into what tells
      the time: diffusion into perfusion deficit, FLAIR into diffusion. 0 where the modalities share one lesion.
    - Contrast: mean over the lesion of the channel's own modality less that of tissue outside the union. Tissue is
      what is brighter than the channel's mean, which leaves out air and padding.

    Sizes are in voxels, plus one: a missing lesion has a small share and a contrast of 0.

    Args:
        volumes: `(B, C, b, H, W)`, preprocessed intensities.
        lesions: `(B, M, b, H, W)`, lesion probabilities of the modalities.
        valid: `(B, b)` bool, False for padded slices, which count nowhere.
        channels: Channel numbers of each modality.

    Returns:
        `(B, M + c)` float32: M shares, then the contrasts of the c channels, modality by modality.
    """
    real = valid[:, None, :, None, None]
    weights = lesions.float().square() * real
    union = weights.amax(dim=1, keepdim=True)
    shares = ((weights.sum(AXES) + 1) / (union.sum(AXES) + 1)).log()
    contrasts = [
        _contrast(volumes[:, list(own)].float(), weights[:, index, None], union, real)
        for index, own in enumerate(channels)
    ]
    return torch.cat([shares, *contrasts], dim=1)


def _contrast(images: Tensor, lesion: Tensor, union: Tensor, real: Tensor) -> Tensor:
    """`(B, c)` of one modality's channels `(B, c, b, H, W)`; the other arguments are `(B, 1, b, H, W)`."""
    voxels = real.sum(AXES).clamp(min=1) * (images[0, 0, 0].numel())
    mean = (images * real).sum(AXES) / voxels
    tissue = (images > mean[:, :, None, None, None]) * (1 - union) * real
    outside = (images * tissue).sum(AXES) / tissue.sum(AXES).clamp(min=1e-6)
    return ((images - outside[:, :, None, None, None]) * lesion).sum(AXES) / (lesion.sum(AXES) + 1)


def lesion_tokens(lesions: Tensor, positions: int, height: int, width: int) -> Tensor:
    """Lesion probability maps in the size of a feature map, in the place of Eq. 10's channel means.

    Args:
        lesions: `(B, M, b, H, W)`.
        positions: Tokens a modality along z.
        height: Of the map.
        width: Of the map.

    Returns:
        `(B, M * positions, height, width)`: the lesion's share of each cell, modality by modality.
    """
    return F.adaptive_avg_pool3d(lesions.float(), (positions, height, width)).flatten(1, 2)
