"""The TSS head together with what it needs to know about its input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_mgcl.network.feature_level import FeatureLevel
from nnunet_mgcl.network.lesion_head import LesionHead
from nnunet_mgcl.network.tss_heads import FEATURES, MEASURES, READS, build_tss_head


class TSSClassifier(nn.Module):
    """From what a head reads of the modalities to the logit of TSS < 4.5 h (mrff: Eq. 10-16).

    `trained` travels in the state dict: nnU-Net's `checkpoint_best` holds a head that no phase has trained yet,
    and nobody may read a probability from that. So does `regions`, of a head that reads lesions: whether the branches'
    outputs are nnU-Net's regions, which no plan says.

    Args:
        kind: `tss.head` of the configuration.
        channels: Channel numbers of each modality that the head sees.
        level: The encoder level that it reads.
        grid: Sub-regions a side.
        heads: Attention heads.
    """

    trained: Tensor
    regions: Tensor

    def __init__(
        self, kind: str, channels: Sequence[Sequence[int]], level: FeatureLevel, grid: int, heads: int
    ) -> None:
        super().__init__()
        self.num_modalities, self.positions = len(channels), level.positions
        self.reads = READS.get(kind, FEATURES)
        self.head: nn.Module
        if self.reads == MEASURES:
            self.head = LesionHead([len(own) for own in channels])
        else:
            tokens = len(channels) * level.positions
            self.head = build_tss_head(kind, tokens, level.height, level.width, grid=grid, heads=heads)
        self.register_buffer("trained", torch.tensor(False))
        if self.reads != FEATURES:
            self.register_buffer("regions", torch.tensor(False))

    def forward(self, features: Tensor, valid: Tensor, present: Tensor | None = None) -> Tensor:
        """Logits `(B,)`.

        Args:
            features: `(B, M * p, h, w)`, a map of each modality at each z-position, or `(B, M + c)` measures.
            valid: `(B, b)` bool, False for padded slices. A position is padded where all its slices are.
            present: `(B, M)` bool, False where a case lacks a modality; None: all are there.
        """
        if isinstance(self.head, LesionHead):
            return self.head(features, present)
        return self.head(features, self.valid_tokens(valid, present))

    def valid_tokens(self, valid: Tensor, present: Tensor | None = None) -> Tensor:
        """`(B, M * p)` bool: which tokens stand for a real slice of a modality that is there; as in `forward`."""
        positions = F.adaptive_max_pool1d(valid.float()[:, None], self.positions)[:, 0] > 0
        tokens = positions[:, None].expand(-1, self.num_modalities, -1)
        if present is not None:
            tokens = tokens & present[:, :, None]
        return tokens.flatten(1)
