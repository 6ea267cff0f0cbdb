"""Which encoder level the TSS head reads (F of Eq. 9-10) and how large it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from operator import mul

MINIMAL_SIDE = 8
"""nnU-Net pools down to about 4 x 4, too small to split into sub-regions (docs/method.md, Eq. 9-10)."""


@dataclass(frozen=True)
class FeatureLevel:
    """Attributes: index: encoder level; positions: tokens a modality along z; height, width: of the map."""

    index: int
    positions: int
    height: int
    width: int


def choose_level(strides: Sequence[Sequence[int]], slices: int, size: Sequence[int]) -> FeatureLevel:
    """The deepest level whose smaller in-plane side is at least 8 (level 0 where none is).

    Args:
        strides: The plan's strides, one entry a level; 2 numbers a level in 2d, 3 in 3d.
        slices: b, slices of a volume.
        size: Height and width of a slice in voxels.
    """
    levels = []
    for index, total in enumerate(zip(*(accumulate(axis, mul) for axis in zip(*strides, strict=True)), strict=True)):
        z, y, x = (1, *total) if len(total) == 2 else total
        levels.append(FeatureLevel(index, ceil(slices / z), ceil(size[0] / y), ceil(size[1] / x)))
    return next((lv for lv in reversed(levels) if min(lv.height, lv.width) >= MINIMAL_SIDE), levels[0])
