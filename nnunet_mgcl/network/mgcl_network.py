"""One U-Net a modality, fused to nnU-Net's logits, with the TSS head on the encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.network.feature_level import FeatureLevel
from nnunet_mgcl.network.recompute import recomputed
from nnunet_mgcl.network.tss_classifier import TSSClassifier


class MGCLNetwork(nn.Module):
    """The network of phase `segment`, and the one that every checkpoint holds.

    Args:
        branches: One U-Net a modality.
        channels: The input channels of each branch.
        fusion: Takes the list of branch logits to nnU-Net's logits.
        tss: The TSS head; None where the dataset has no TSS.
        tss_branches: Indices of the branches that the head sees.
        level: The encoder level that the head reads.
        checkpointing: Whether training computes each branch's activations again in the backward pass, so that those
            of one branch at a time are in memory.
    """

    def __init__(
        self,
        branches: Sequence[UNet],
        channels: Sequence[Sequence[int]],
        fusion: nn.Module,
        tss: TSSClassifier | None = None,
        tss_branches: Sequence[int] = (),
        level: FeatureLevel | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.branches: Any = nn.ModuleList(branches)
        self.channels = [list(c) for c in channels]
        self.fusion = fusion
        self.tss = tss
        self.tss_branches, self.level = list(tss_branches), level
        self.checkpointing = checkpointing
        if tss is not None:
            tss.requires_grad_(False)  # until phase `tss`: DDP does not tolerate unused parameters

    @property
    def deep_supervision(self) -> bool:
        """Whether `forward` returns one map a resolution."""
        return bool(self.branches[0].decoder.deep_supervision)

    @deep_supervision.setter
    def deep_supervision(self, enabled: bool) -> None:
        for branch in self.branches:
            branch.decoder.deep_supervision = enabled

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segmentation logits `(B, L, [Z,] X, Y)`, or a list of them under deep supervision."""
        run = recomputed if self.checkpointing and self.training and torch.is_grad_enabled() else _plain
        logits = [run(branch, x[:, own]) for branch, own in zip(self.branches, self.channels, strict=True)]
        if isinstance(logits[0], (list, tuple)):
            return [self.fusion(list(at_resolution)) for at_resolution in zip(*logits, strict=True)]
        return self.fusion(logits)

    def tss_features(self, volumes: Tensor, chunk: int) -> Tensor:
        """The frozen encoders' channel-mean maps of whole volumes, g(F) of Eq. 9-10, without gradients.

        Args:
            volumes: `(B, C, b, H, W)`.
            chunk: Slices (2d) or volumes (3d) that pass an encoder together.

        Returns:
            `(B, M * p, h, w)`, modalities stacked on the slice axis.
        """
        maps = []
        with torch.no_grad():
            for index in self.tss_branches:
                encoder = self.branches[index].encoder.eval()
                maps.append(self._channel_means(encoder, volumes[:, self.channels[index]], chunk))
        return torch.cat(maps, dim=1)

    def _channel_means(self, encoder: UNet, x: Tensor, chunk: int) -> Tensor:
        """`(B, c, b, H, W)` to `(B, p, h, w)`."""
        assert self.level is not None
        samples = x
        if encoder.conv_op is nn.Conv2d:  # every slice is a sample
            samples = x.transpose(1, 2).flatten(0, 1)
        means = torch.cat([encoder(part)[self.level.index].float().mean(1) for part in samples.split(chunk)])
        return means.view(x.shape[0], -1, *means.shape[-2:])


def _plain(branch: nn.Module, x: Tensor) -> Any:
    return branch(x)
