"""ResNet-18 and DenseNet-121 for volumes of thick slices (MONAI)."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from typing import Any

from monai.networks.nets import DenseNet121, resnet18
from torch import nn

FEWEST_SLICES = 4
"""Along z no network halves to fewer; nnU-Net's plans keep as many voxels of an axis."""


def build_resnet(channels: int, slices: int) -> nn.Module:
    """3D ResNet-18 with one logit. Strides: 2 in plane at each of five levels, 1 or 2 along z."""
    network = resnet18(spatial_dims=3, n_input_channels=channels, num_classes=1, conv1_t_stride=2)
    blocks = ([f"layer{level}.0.conv1", f"layer{level}.0.downsample.0"] for level in (2, 3, 4))
    keep_slices(network, [["conv1"], ["maxpool"], *blocks], slices)
    return network


def build_densenet(channels: int, slices: int) -> nn.Module:
    """3D DenseNet-121 with one logit. Strides as of `build_resnet`."""
    network = DenseNet121(spatial_dims=3, in_channels=channels, out_channels=1)
    transitions = ([f"features.transition{level}.pool"] for level in (1, 2, 3))
    keep_slices(network, [["features.conv0"], ["features.pool0"], *transitions], slices)
    return network


def keep_slices(network: nn.Module, levels: Sequence[Sequence[str]], slices: int) -> None:
    """Takes the stride along z from the first levels, so that the last one has `FEWEST_SLICES` left, if there are any.

    The slices of a clinical scan are five to ten times as thick as a voxel is wide: like nnU-Net's plans, a network
    first halves in plane.

    Args:
        network: Its layers are changed.
        levels: Names of the layers with a stride of 2, from the input on; those of a level share it.
        slices: b, slices of the input.
    """
    halvings = int(log2(max(1, slices // FEWEST_SLICES)))
    for name in (name for level in levels[: max(0, len(levels) - halvings)] for name in level):
        layer: Any = network.get_submodule(name)
        layer.stride = (1, 2, 2)
        if isinstance(layer, nn.AvgPool3d):
            layer.kernel_size = (1, 2, 2)
