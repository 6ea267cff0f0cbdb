"""EigenCAM of every stage of a branch's encoder, as maps over a case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from torch import Tensor, nn

from nnunet_mgcl.report.analysis.eigencam import eigencam


@dataclass(frozen=True)
class Window:
    """The part of a case `(Z, Y, X)` that passes an encoder: the plan's patch, in 2d of all slices.

    Attributes:
        box: First and last + 1 voxel of each axis; beyond the case zeros are read, as in nnU-Net's prediction.
        slices: The case's slices whose maps are wanted, all of them within the box.
        shape: Of the case.
    """

    box: tuple[tuple[int, int], ...]
    slices: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def around(cls, lesion: np.ndarray, slices: tuple[int, ...], patch: tuple[int, ...]) -> Window:
        """Places the patch around a lesion, or in the case's middle.

        Where the case is larger than the patch, the window stays inside; where it is smaller, it is padded evenly.

        Args:
            lesion: `(Z, Y, X)` bool.
            slices: The slices whose maps are wanted; those outside the window are left out.
            patch: The plan's, of two or three sides.
        """
        voxels = np.argwhere(lesion) if lesion.any() else np.array([[0, 0, 0], lesion.shape])
        middle = (voxels.min(axis=0) + voxels.max(axis=0) + 1) // 2
        sides = (lesion.shape[0], *patch) if len(patch) == 2 else patch
        starts = [_start(*axis) for axis in zip(middle.tolist(), lesion.shape, sides, strict=True)]
        box = tuple((start, start + side) for start, side in zip(starts, sides, strict=True))
        inside = tuple(number for number in slices if box[0][0] <= number < box[0][1])
        return cls(box, inside, lesion.shape)

    def read(self, image: np.ndarray) -> Tensor:
        """The whole window of `(C, Z, Y, X)`."""
        return torch.from_numpy(crop_and_pad_nd(image, [list(side) for side in self.box], 0))

    @property
    def numbers(self) -> list[int]:
        """The wanted slices, counted in the window."""
        return [number - self.box[0][0] for number in self.slices]

    @property
    def _seen(self) -> list[tuple[int, int]]:
        """The part of the box that is in the case."""
        return [(max(first, 0), min(last, side)) for (first, last), side in zip(self.box, self.shape, strict=True)]

    def cut(self, array: np.ndarray) -> np.ndarray:
        """The wanted slices of `(Z, Y, X)` within the window; nothing beyond the case."""
        _, rows, columns = (slice(*axis) for axis in self._seen)
        return array[list(self.slices), rows, columns]

    def trim(self, maps: Tensor) -> np.ndarray:
        """Leaves out what a map of the window's planes `(N, H, W)` shows of what is beyond the case."""
        _, rows, columns = (slice(low - s[0], high - s[0]) for (low, high), s in zip(self._seen, self.box, strict=True))
        return maps[:, rows, columns].cpu().numpy()


@torch.inference_mode()
def perception_maps(
    encoder: nn.Module, image: np.ndarray, window: Window, is_3d: bool, chunk: int, device: torch.device
) -> list[np.ndarray]:
    """EigenCAM of each stage, linearly resampled to the input: `(wanted slices, y, x)` each, as `Window.cut`.

    In 2d the wanted slices are the samples of one EigenCAM, in 3d the window is its only sample.

    Args:
        encoder: Returns one map a stage.
        image: `(C, Z, Y, X)` of one branch.
        window: Where to look.
        is_3d: Whether the encoder reads volumes.
        chunk: Slices that pass the encoder together.
        device: Where the encoder is.
    """
    volume = window.read(image).to(device)
    if is_3d:
        stages = [eigencam(stage) for stage in encoder(volume[None])]
        return [window.trim(_resampled(stage, volume.shape[1:])[0, window.numbers]) for stage in stages]
    slices = volume[:, window.numbers].transpose(0, 1)
    parts = [encoder(part) for part in slices.split(chunk)]
    stages = [eigencam(torch.cat(stage)) for stage in zip(*parts, strict=True)]
    return [window.trim(_resampled(stage, slices.shape[2:])) for stage in stages]


def _resampled(maps: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`(N, ...)` to the size of the input, each cell where the voxels are that it looks at.

    A convolution of stride 2 looks at the voxels 0, 2, 4, ...: a cell of total stride s has its middle at a multiple
    of s. Resizing the map to the input, as is usual, would move it by (s - 1) / 2 voxels.
    """
    strides = [-(-side // cells) for side, cells in zip(shape, maps.shape[1:], strict=True)]
    reached = [(cells - 1) * stride + 1 for cells, stride in zip(maps.shape[1:], strides, strict=True)]
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    inner = F.interpolate(maps[:, None], reached, mode=mode, align_corners=True)
    rest = [(0, side - end) for side, end in zip(shape, reached, strict=True)]
    return F.pad(inner, [margin for axis in reversed(rest) for margin in axis], mode="replicate")[:, 0]


def _start(middle: int, size: int, side: int) -> int:
    return -((side - size) // 2) if side >= size else min(max(middle - side // 2, 0), size - side)
