"""The TSS head together with what it needs to know about its input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_mgcl.network.feature_level import FeatureLevel
from nnunet_mgcl.network.tss_heads import build_tss_head


class TSSClassifier(nn.Module):
    """From the modalities' channel-mean maps to the logit of TSS < 4.5 h (Eq. 10-16).

    `trained` travels in the state dict: nnU-Net's `checkpoint_best` holds a head that no phase has trained yet,
    and nobody may read a probability from that.
    """

    trained: Tensor

    def __init__(self, kind: str, num_modalities: int, level: FeatureLevel, grid: int, heads: int) -> None:
        super().__init__()
        self.num_modalities, self.positions = num_modalities, level.positions
        tokens = num_modalities * level.positions
        self.head = build_tss_head(kind, tokens, level.height, level.width, grid=grid, heads=heads)
        self.register_buffer("trained", torch.tensor(False))

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Logits `(B,)`.

        Args:
            features: `(B, M * p, h, w)`, the mean over channels of each modality's map at each z-position.
            valid: `(B, b)` bool, False for padded slices. A position is padded where all its slices are.
        """
        return self.head(features, self.valid_tokens(valid))

    def valid_tokens(self, valid: Tensor) -> Tensor:
        """`(B, M * p)` bool: which tokens stand for a real slice; `valid` as in `forward`."""
        positions = F.adaptive_max_pool1d(valid.float()[:, None], self.positions)[:, 0] > 0
        return positions.repeat(1, self.num_modalities)
