"""The TSS head that reads measures of the lesion: a logistic regression."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LesionHead(nn.Module):
    """Standardised measures, weighted and summed to one logit.

    The standardisation and the weights are fitted in closed form or convexly (`set`), never by an optimiser of phases.

    Args:
        measures: Their number.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, measures: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(measures))
        self.register_buffer("scale", torch.ones(measures))
        self.linear = nn.Linear(measures, 1)

    def forward(self, measures: Tensor, valid: Tensor) -> Tensor:
        """Returns the logits `(B,)` of TSS < 4.5 h.

        Args:
            measures: `(B, measures)` of `lesion_measures`.
            valid: Without effect, padded slices are in no measure; all heads are called alike.
        """
        with torch.autocast(measures.device.type, enabled=False):
            return self.linear((measures.float() - self.mean) / self.scale).squeeze(-1)

    @torch.no_grad()
    def set(self, mean: Tensor, scale: Tensor, weight: Tensor, bias: float) -> None:
        """Takes the fitted numbers, each `(measures,)`."""
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        self.linear.weight.copy_(weight[None])
        self.linear.bias.fill_(bias)
