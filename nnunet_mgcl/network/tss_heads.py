"""The TSS heads: MRFF, the two of Table 5 that it is compared with, and two that read the segmented lesion.

The paper names the two ("MLP", "Transformer") and does not describe them; they are our choice. These three and
`mrff_lesion` have the contract of `MRFF`: the same constructor, `(B, T, h, w)` and valid `(B, T)` in, logits `(B,)`
out, and what a padded token holds changes nothing. `mrff_lesion` is MRFF, Eq. 11-16 unchanged, on other tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_mgcl.network.mrff import MRFF, MaskedLayerNorm, pooled_size, split_regions

HIDDEN = 128


class MLPHead(nn.Module):
    """A perceptron on the vector that MRFF's classifier would see without attention (Eq. 10, 11, 15, 16).

    Args:
        tokens: T.
        height: Height of the feature map.
        width: Its width.
        grid: Sub-regions a side.
        heads: Without meaning here.
    """

    def __init__(self, tokens: int, height: int, width: int, *, grid: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.grid = grid
        self.pooled_size = pooled_size(height, width, grid)
        size = grid * grid * tokens
        self.norm = MaskedLayerNorm(size)
        self.layers = nn.Sequential(nn.Linear(size, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Returns the logits `(B,)`; see `MRFF.forward`."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.norm.weight.dtype).masked_fill(~valid[:, :, None, None], 0)
            regions = split_regions(F.adaptive_avg_pool2d(features, self.pooled_size), self.grid)
            vector = regions.flatten(1, 2).mean(dim=-1)
            return self.layers(self.norm(vector, valid.repeat(1, self.grid**2))).squeeze(-1)


class TransformerHead(nn.Module):
    """One standard transformer layer over the tokens, each a whole map; then the mean token.

    Args:
        tokens: T.
        height: Height of the feature map; pooled down to a multiple of the grid, as in MRFF.
        width: Its width.
        grid: Has no meaning here beyond that: the maps are not split.
        heads: Attention heads.
    """

    def __init__(self, tokens: int, height: int, width: int, *, grid: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.pooled_size = pooled_size(height, width, grid)
        size = max(1, HIDDEN // heads) * heads
        self.embed = nn.Linear(self.pooled_size[0] * self.pooled_size[1], size)
        self.position = nn.Parameter(torch.zeros(tokens, size).normal_(std=0.02))
        self.layer = nn.TransformerEncoderLayer(size, heads, 2 * size, dropout=0.0, batch_first=True)
        self.classify = nn.Linear(size, 1)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Returns the logits `(B,)`; see `MRFF.forward`."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.position.dtype).masked_fill(~valid[:, :, None, None], 0)
            maps = F.adaptive_avg_pool2d(features, self.pooled_size).flatten(2)
            tokens = self.layer(self.embed(maps) + self.position, src_key_padding_mask=~valid)
            total = tokens.masked_fill(~valid[:, :, None], 0).sum(dim=1)
            return self.classify(total / valid.sum(dim=1, keepdim=True)).squeeze(-1)


TokenHead = MRFF | MLPHead | TransformerHead

HEADS: dict[str, type[TokenHead]] = {
    "mrff": MRFF,
    "mrff_lesion": MRFF,
    "mlp": MLPHead,
    "transformer": TransformerHead,
}
"""The heads of tokens."""
KINDS = ("lesion", *HEADS)
"""What `tss.head` of the configuration may be."""

FEATURES, LESIONS, MEASURES = "channel means of the encoders", "lesion maps", "measures of the lesion"
READS = {"lesion": MEASURES, "mrff_lesion": LESIONS}
"""What a head reads, if not `FEATURES`."""


def build_tss_head(kind: str, tokens: int, height: int, width: int, grid: int, heads: int) -> TokenHead:
    """Returns a head of tokens by its name; arguments as in `MRFF`.

    Raises:
        ValueError: There is no such head.
    """
    if kind not in HEADS:
        raise ValueError(f"unknown TSS head {kind!r}, expected one of {', '.join(HEADS)}")
    return HEADS[kind](tokens, height, width, grid=grid, heads=heads)
