"""Strong views: what the student sees of unlabelled samples that nnU-Net has augmented and the teacher labelled."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

CONTRAST, BRIGHTNESS, NOISE = (0.6, 1.4), (-0.3, 0.3), (0.0, 0.3)
"""Ranges; brightness and noise are in units of a normalised image, whose standard deviation is about 1."""
BLURRED = MIXED = 0.5
"""Shares of the samples that are blurred, and that get a box of another sample."""
BOX_SHARE, BOX_RATIO = (0.1, 0.4), (0.5, 2.0)
"""Of the plane: the box's area, and its height over its width."""


def perturb(images: Tensor) -> Tensor:
    """Changes contrast and brightness of every sample and channel, adds noise, and blurs some samples in plane.

    Args:
        images: `(B, C, [Z,] X, Y)`.
    """
    changed = shade(images)
    changed = changed + torch.randn_like(images) * _draw(images, *NOISE)
    planes = changed.flatten(1, -3)
    blurred = F.avg_pool2d(planes, 3, stride=1, padding=1, count_include_pad=False).view_as(changed)
    which = torch.rand(len(images), *[1] * (images.ndim - 1), device=images.device) < BLURRED
    return torch.where(which, blurred, changed)


def shade(images: Tensor) -> Tensor:
    """Changes contrast and brightness of every sample and channel `(B, C, [Z,] X, Y)`."""
    mean = images.mean(dim=tuple(range(2, images.ndim)), keepdim=True)
    return (images - mean) * _draw(images, *CONTRAST) + mean + _draw(images, *BRIGHTNESS)


def _draw(images: Tensor, low: float, high: float) -> Tensor:
    """One number of every sample and channel."""
    return torch.empty(*images.shape[:2], *[1] * (images.ndim - 2), device=images.device).uniform_(low, high)


def cut_mix(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Puts a box of another sample of the batch into some samples, in image and target alike (Yun et al., 2019).

    The box is a rectangle in plane and goes through all slices.

    Args:
        images: `(B, C, [Z,] X, Y)`.
        targets: `(B, L, [Z,] X, Y)`.
    """
    boxes = torch.stack([_draw_box(*images.shape[-2:]) for _ in range(len(images))]).to(images.device)
    boxes = boxes.view(len(images), *[1] * (images.ndim - 3), *images.shape[-2:])
    return tuple(torch.where(boxes, own.roll(1, 0), own) for own in (images, targets))  # type: ignore[return-value]


def _draw_box(height: int, width: int) -> Tensor:
    """`(X, Y)` bool, nothing set where the sample stays as it is."""
    box = torch.zeros(height, width, dtype=torch.bool)
    draws = torch.rand(5).tolist()
    if draws[0] < MIXED:
        share = BOX_SHARE[0] + (BOX_SHARE[1] - BOX_SHARE[0]) * draws[1]
        ratio = BOX_RATIO[0] * (BOX_RATIO[1] / BOX_RATIO[0]) ** draws[2]
        area = share * prod((height, width))
        rows, columns = min(height, round((area * ratio) ** 0.5)), min(width, round((area / ratio) ** 0.5))
        top, left = int(draws[3] * (height - rows + 1)), int(draws[4] * (width - columns + 1))
        box[top : top + rows, left : left + columns] = True
    return box
