"""From the branches' logits to nnU-Net's logits, for the two kinds of targets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NEVER = -100.0
"""A logit that no softmax chooses beside the background's 0. nnU-Net sums weighted logits in half precision."""


class SharedFusion(nn.Module):
    """One label map for all modalities: a learned weighting of the branches' logits.

    Starts at the mean. The paper's branches never meet for segmentation; a shared label map needs one answer,
    so this is our choice (docs/method.md). One branch is passed through without a parameter.
    """

    def __init__(self, num_modalities: int, num_outputs: int) -> None:
        super().__init__()
        self.weight: nn.Parameter | None = None
        if num_modalities > 1:
            self.weight = nn.Parameter(torch.full((num_modalities, num_outputs), 1 / num_modalities))

    def forward(self, logits: Sequence[Tensor | None], there: Tensor | None = None) -> Tensor:
        """Branch logits, each `(B, C, ...)`, to `(B, C, ...)`.

        Args:
            logits: Of every branch; None where none was computed.
            there: `(B, M)` or `(1, M)` bool, the branches whose images a case has; None: all of them. The weights of
                these are scaled to the sum of all (where their own sum is not above 0, they are alike), so that an
                output keeps its scale.
        """
        computed = [number for number, own in enumerate(logits) if own is not None]
        stacked = torch.stack([own for own in logits if own is not None])
        if self.weight is None:
            return stacked[0]
        weight = self.weight[:, None] if there is None else self._renormalised(there)
        weight = weight[computed]
        return (stacked * weight.view(*weight.shape, *([1] * (stacked.ndim - 3)))).sum(0)

    def _renormalised(self, there: Tensor) -> Tensor:
        """Weights `(M, B, C)` with the sum that all have, 0 where a case lacks the modality."""
        assert self.weight is not None
        has = there.T[..., None].to(self.weight.dtype)
        weight, total = self.weight[:, None] * has, self.weight.sum(0)
        own = weight.sum(0)
        usable = (own > 0) & (total > 0)
        return torch.where(usable, weight * (total / own.where(usable, 1)), has * (total / has.sum(0)))


class CombinationFusion(nn.Module):
    """One target a modality: the logit of a combination of lesions is the sum of its branches' logits.

    The softmax over all 2^M combinations is then exactly the product of the branches' sigmoids, and its argmax is
    thresholding each branch at 0.5, so nnU-Net's export needs to know nothing of it.
    """

    membership: Tensor

    def __init__(self, membership: Tensor) -> None:
        """Args: membership: `(L, M)`, 1 where label l is a lesion of modality m."""
        super().__init__()
        self.register_buffer("membership", membership.float(), persistent=False)

    def forward(self, logits: Sequence[Tensor | None], there: Tensor | None = None) -> Tensor:
        """Branch logits, each `(B, 1, ...)`, to `(B, L, ...)`.

        Args:
            logits: Of every branch; None where none was computed.
            there: `(B, M)` or `(1, M)` bool, the branches whose images a case has; None: all of them. The logit of
                another one is `NEVER` (and no gradient reaches it), so that no combination with its lesion is chosen.
        """
        known = next(own for own in logits if own is not None)
        nothing = torch.full_like(known, NEVER)
        stacked = torch.cat([nothing if own is None else own for own in logits], dim=1)
        if there is not None:
            stacked = stacked.masked_fill(~there.view(*there.shape, *([1] * (stacked.ndim - 2))), NEVER)
        return torch.einsum("lm,bm...->bl...", self.membership.to(stacked.dtype), stacked)


def label_membership(lesion_labels: Sequence[Sequence[int]], num_labels: int) -> Tensor:
    """Which label is a lesion of which modality, `(L, M)` bool, from the labels that are lesion for each branch."""
    table = torch.zeros(num_labels, len(lesion_labels), dtype=torch.bool)
    for column, labels in enumerate(lesion_labels):
        table[list(labels), column] = True
    return table


def branch_channels(membership: Tensor) -> list[int]:
    """The output channel that equals each branch's own logit: the label that is a lesion of it alone."""
    alone = membership.sum(1) == 1
    return [int(torch.nonzero(alone & column)[0]) for column in membership.T]
