"""One U-Net a modality, fused to nnU-Net's logits, with the TSS head on the encoders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.network.feature_level import FeatureLevel
from nnunet_mgcl.network.fusion import CombinationFusion
from nnunet_mgcl.network.lesion_measures import lesion_measures, lesion_tokens
from nnunet_mgcl.network.recompute import recomputed
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.network.tss_heads import FEATURES, LESIONS, MEASURES


class MGCLNetwork(nn.Module):
    """The network of phase `segment`, and the one that every checkpoint holds.

    Args:
        branches: One U-Net a modality.
        channels: The input channels of each branch.
        fusion: Takes the list of branch logits to nnU-Net's logits.
        tss: The TSS head; None where the dataset has no TSS.
        tss_branches: Indices of the branches that the head sees.
        level: The encoder level that the head reads.
        divisor: Product of the plan's strides along each axis: a U-Net's input must be a multiple of it.
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
        divisor: Sequence[int] = (),
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.branches: Any = nn.ModuleList(branches)
        self.channels = [list(c) for c in channels]
        self.fusion = fusion
        self.tss = tss
        self.tss_branches, self.level, self.divisor = list(tss_branches), level, list(divisor)
        self.checkpointing = checkpointing
        self.present = list(range(len(branches)))
        """Branches whose images are there; the others are not computed (prediction with missing modalities)."""
        self.cases: Tensor | None = None
        """`(B, M)` bool, the branches whose images each case of a batch has; None: all of `present`."""
        if tss is not None:
            tss.requires_grad_(False)  # until phase `tss`: DDP does not tolerate unused parameters

    @contextmanager
    def with_present(self, present: Iterable[int]) -> Iterator[None]:
        """Within it the other branches have no images."""
        before, self.present = self.present, sorted(present)
        try:
            yield
        finally:
            self.present = before

    @contextmanager
    def with_cases(self, cases: Tensor | None) -> Iterator[None]:
        """Within it the cases of a batch have the images that `cases` says."""
        before, self.cases = self.cases, cases
        try:
            yield
        finally:
            self.cases = before

    @property
    def tss_present(self) -> list[bool]:
        """Which of the TSS head's modalities are there."""
        return [index in self.present for index in self.tss_branches]

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
        logits = {index: run(self.branches[index], x[:, self.channels[index]]) for index in self.present}
        there = self._there(x.device) if self.cases is None else self.cases
        several = isinstance(logits[self.present[0]], (list, tuple))
        resolutions = zip(*logits.values(), strict=True) if several else [logits.values()]
        fused = [self._fused(dict(zip(logits, own, strict=True)), there) for own in resolutions]
        return fused if several else fused[0]

    def _fused(self, logits: Mapping[int, Tensor], there: Tensor | None) -> Tensor:
        """The logits of some branches, by their numbers."""
        return self.fusion([logits.get(index) for index in range(len(self.branches))], there)

    def _there(self, device: torch.device) -> Tensor | None:
        """`present` as `(1, M)` bool; None where it is all branches."""
        if len(self.present) == len(self.branches):
            return None
        return torch.tensor([[index in self.present for index in range(len(self.branches))]], device=device)

    def tss_inputs(
        self,
        volumes: Tensor,
        valid: Tensor,
        chunk: int,
        heads: Iterable[TSSClassifier],
        cases: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What heads read of whole volumes, by the name in `TSSClassifier.reads`, without gradients.

        Args:
            volumes: `(B, C, b, H, W)`.
            valid: `(B, b)` bool, False for padded slices.
            chunk: Slices (2d) or volumes (3d) that pass a branch together.
            heads: Of this network.
            cases: `(B, M)` bool, the branches whose images each case has; None: those that are present.
        """
        readers = {head.reads: head for head in heads}
        inputs = {FEATURES: self.tss_features(volumes, chunk)} if FEATURES in readers else {}
        if looking := [head for reads, head in readers.items() if reads != FEATURES]:
            lesions = self.lesion_probabilities(volumes, chunk, bool(looking[0].regions), cases)
            if MEASURES in readers:
                seen = [self.channels[index] for index in self.tss_branches]
                inputs[MEASURES] = lesion_measures(volumes, lesions, valid, seen)
            if LESIONS in readers:
                assert self.level is not None
                level = self.level
                inputs[LESIONS] = lesion_tokens(lesions, level.positions, level.height, level.width)
        return inputs

    def lesion_probabilities(self, volumes: Tensor, chunk: int, regions: bool, cases: Tensor | None = None) -> Tensor:
        """The segmented lesion of the head's modalities in whole volumes, without gradients; none where not present.

        With one target a modality it is the branch's own; with shared labels every modality has the fused one: the
        probability of any foreground.

        Args:
            volumes: `(B, C, b, H, W)`.
            chunk: Slices (2d) or volumes (3d) that pass a branch together.
            regions: Whether shared outputs are nnU-Net's regions (sigmoid) and not labels (softmax).
            cases: As of `tss_inputs`.

        Returns:
            `(B, M, b, H, W)`, float32.
        """
        is_2d = self.branches[0].encoder.conv_op is nn.Conv2d
        samples = volumes.transpose(1, 2).flatten(0, 1) if is_2d else volumes
        size = samples.shape[2:]
        missing = [-side % divisor for side, divisor in zip(size, self.divisor, strict=True)]
        samples = F.pad(samples, [pad for behind in reversed(missing) for pad in (0, behind)])
        there = None if cases is None else cases.repeat_interleave(len(samples) // len(volumes), dim=0)
        parts = zip(samples.split(chunk), there.split(chunk) if there is not None else repeat(None), strict=False)
        self.branches.eval()
        with torch.no_grad():
            lesions = torch.cat([self._lesions(part, regions, own) for part, own in parts])
        for axis, side in enumerate(size, start=2):
            lesions = lesions.narrow(axis, 0, side)
        return lesions.unflatten(0, (len(volumes), -1)).transpose(1, 2) if is_2d else lesions

    def _lesions(self, x: Tensor, regions: bool, there: Tensor | None) -> Tensor:
        """`(B, C, ...)` to `(B, M, ...)`."""
        there = self._there(x.device) if there is None else there
        logits = {index: self.branches[index](x[:, self.channels[index]]) for index in self.present}
        if self.deep_supervision:
            logits = {index: resolutions[0] for index, resolutions in logits.items()}
        if isinstance(self.fusion, CombinationFusion):
            own = {index: logit[:, 0].float().sigmoid() for index, logit in logits.items()}
        else:
            fused = self._fused(logits, there).float()
            own = dict.fromkeys(logits, fused.sigmoid().amax(1) if regions else 1 - fused.softmax(dim=1)[:, 0])
        nothing = torch.zeros_like(next(iter(own.values())))
        lesions = torch.stack([own.get(index, nothing) for index in self.tss_branches], dim=1)
        if there is None:
            return lesions
        lacking = ~there[:, self.tss_branches]
        return lesions.masked_fill(lacking.view(*lacking.shape, *([1] * (lesions.ndim - 2))), 0)

    def tss_features(self, volumes: Tensor, chunk: int) -> Tensor:
        """The frozen encoders' channel-mean maps of whole volumes, g(F) of Eq. 9-10, without gradients.

        Args:
            volumes: `(B, C, b, H, W)`.
            chunk: Slices (2d) or volumes (3d) that pass an encoder together.

        Returns:
            `(B, M * p, h, w)`, modalities stacked on the slice axis.
        """
        maps: list[Tensor | None] = []
        with torch.no_grad():
            for index in self.tss_branches:
                if index not in self.present:
                    maps.append(None)
                    continue
                encoder = self.branches[index].encoder.eval()
                maps.append(self._channel_means(encoder, volumes[:, self.channels[index]], chunk))
        nothing = torch.zeros_like(next(own for own in maps if own is not None))  # tokens that `valid_tokens` masks
        return torch.cat([nothing if own is None else own for own in maps], dim=1)

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
