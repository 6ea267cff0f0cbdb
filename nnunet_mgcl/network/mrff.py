"""Multi-modal region-related feature fusion, the paper's TSS head (section 3.3, Eq. 10-16)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MRFF(nn.Module):
    """Attention among the modalities' slices within each sub-region, then one logit.

    Shapes: B cases; T = M b tokens, the b slices of M modalities (the paper's 3b); m = grid x grid regions of
    n pixels (the paper's d^2 / m); k heads; d_k = d_v = d / 2, where d is the side of the pooled map, or
    sqrt(height x width), rounded, if it is not square.

    Our readings: "transformer encoders" are exactly Eq. 12-14, without a feed-forward part; the concatenation
    of Eq. 14 runs over the k heads, so W_i^O is (k d_v, n). A padded token is masked as a key, zeroed after
    the residual and left out of the LayerNorm's statistics: what it holds changes nothing.

    Args:
        tokens: T.
        height: Height of the feature map; pooled down to a multiple of the grid.
        width: Its width.
        grid: Sub-regions a side, sqrt(m).
        heads: k.
    """

    def __init__(self, tokens: int, height: int, width: int, *, grid: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.grid = grid
        self.pooled_size = pooled_size(height, width, grid)
        area = self.pooled_size[0] * self.pooled_size[1]
        m, n = grid * grid, area // (grid * grid)
        d_k = max(1, round(area**0.5) // 2)

        self.query = _projection(m, heads, n, d_k)
        self.key = _projection(m, heads, n, d_k)
        self.value = _projection(m, heads, n, d_k)
        self.out = _projection(m, heads * d_k, n)
        self.norm = MaskedLayerNorm(m * tokens)
        self.regression = nn.Linear(m * tokens, 1, bias=False)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Returns the logits `(B,)` of TSS < 4.5 h, before the sigmoid of Eq. 16.

        Args:
            features: `(B, T, h, w)`, F of Eq. 10: the channel means of all modalities stacked.
            valid: `(B, T)` bool, False for padded tokens.
        """
        with torch.autocast(features.device.type, enabled=False):
            vector = self.fuse(features.to(self.query.dtype), valid).mean(dim=-1)
            return self.regression(self.norm(vector, valid.repeat(1, len(self.query)))).squeeze(-1)

    def fuse(self, features: Tensor, valid: Tensor) -> Tensor:
        """Eq. 11-15: the fusion feature `(B, m T, n)`, sub-region by sub-region; arguments as in `forward`."""
        regions = self.regions(features, valid)
        fused = self.attend(regions, valid) + regions
        return fused.masked_fill(~valid[:, None, :, None], 0).flatten(1, 2)

    def regions(self, features: Tensor, valid: Tensor) -> Tensor:
        """Eq. 11: the tokens' sub-regions `(B, m, T, n)`, zero where padded; arguments as in `forward`."""
        features = features.masked_fill(~valid[:, :, None, None], 0)
        return split_regions(F.adaptive_avg_pool2d(features, self.pooled_size), self.grid)

    def attend(self, regions: Tensor, valid: Tensor) -> Tensor:
        """Eq. 12-14 up to the residual, all m encoders at once: `(B, m, T, n)` to the same shape."""
        value = torch.einsum("bmtn,mknd->bmktd", regions, self.value)
        heads = self.attention(regions, valid) @ value
        return torch.einsum("bmtc,mcn->bmtn", heads.transpose(2, 3).flatten(3), self.out)

    def attention(self, regions: Tensor, valid: Tensor) -> Tensor:
        """The softmax of Eq. 12, `(B, m, k, T, T)`: how much each token (row) takes of each other; rows sum to 1.

        Args:
            regions: From `regions`.
            valid: `(B, T)` bool; nothing is taken of a padded token. The rows of padded tokens have no meaning.
        """
        query, key = (torch.einsum("bmtn,mknd->bmktd", regions, weight) for weight in (self.query, self.key))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        scores = scores.masked_fill(~valid[:, None, None, None, :], torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1)


class MaskedLayerNorm(nn.Module):
    """LayerNorm over vectors `(B, size)` of which only the valid entries count; the others become zero."""

    def __init__(self, size: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Normalises `(B, size)`; `valid` is of the same shape and bool."""
        count = valid.sum(dim=-1, keepdim=True).clamp(min=1)
        mean = x.masked_fill(~valid, 0).sum(dim=-1, keepdim=True) / count
        centred = (x - mean).masked_fill(~valid, 0)
        variance = centred.square().sum(dim=-1, keepdim=True) / count
        normed = centred / (variance + self.eps).sqrt() * self.weight + self.bias
        return normed.masked_fill(~valid, 0)


def pooled_size(height: int, width: int, grid: int) -> tuple[int, int]:
    """The map's size, reduced to multiples of the grid so that all sub-regions are of one size."""
    return max(grid, height // grid * grid), max(grid, width // grid * grid)


def split_regions(features: Tensor, grid: int) -> Tensor:
    """Eq. 11: splits `(B, T, h, w)` into grid x grid sub-regions, row by row, flattened: `(B, m, T, n)`."""
    batch, tokens, height, width = features.shape
    tiles = features.reshape(batch, tokens, grid, height // grid, grid, width // grid)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(batch, grid * grid, tokens, -1)


def _projection(*shape: int) -> nn.Parameter:
    """Stacked matrices `(..., fan_in, fan_out)`, initialised as `nn.Linear` does."""
    bound = shape[-2] ** -0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
