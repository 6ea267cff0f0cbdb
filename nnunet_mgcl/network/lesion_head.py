"""The TSS head that reads measures of the lesion: a logistic regression for each set of modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

Fit = tuple[Tensor, Tensor, Tensor, float]
"""Mean, scale and weight of the measures, and the bias."""


class LesionHead(nn.Module):
    """Standardised measures, weighted and summed to one logit.

    The standardisation and the weights are fitted in closed form or convexly (`set`), never by an optimiser of phases.
    A case that lacks a modality is read by the fit of those that it has, in which the other measures weigh nothing.

    Args:
        channels: Number of channels of each modality: there is a share of every modality, then a contrast of every
            channel (`lesion_measures`).
    """

    mean: Tensor
    scale: Tensor
    subsets: Tensor

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = list(channels)
        measures = len(channels) + sum(channels)
        self.register_buffer("mean", torch.zeros(measures))
        self.register_buffer("scale", torch.ones(measures))
        self.linear = nn.Linear(measures, 1)
        # One row a set of modalities, modality m being bit m: mean, scale, weight and bias. Where there is no fit, all
        # are 0, and a scale of 0 makes the logit nan.
        self.register_buffer("subsets", torch.zeros(2 ** len(channels), 3 * measures + 1))

    def forward(self, measures: Tensor, present: Tensor | None = None) -> Tensor:
        """Returns the logits `(B,)` of TSS < 4.5 h.

        Args:
            measures: `(B, measures)` of `lesion_measures`, without the lesions of what is missing.
            present: `(B, M)` bool, the modalities that are there; None: all. Where a set has no fit, the logit is nan.
        """
        with torch.autocast(measures.device.type, enabled=False):
            measures = measures.float()
            full = self.linear((measures - self.mean) / self.scale).squeeze(-1)
            if present is None:
                return full
            rows = self.subsets[self.index(present)]
            mean, scale, weight, bias = rows.split([measures.shape[1]] * 3 + [1], dim=1)
            own = ((measures - mean) / scale * weight).sum(1) + bias[:, 0]
            return torch.where(present.all(dim=1), full, own)

    @staticmethod
    def index(present: Tensor) -> Tensor:
        """Rows `(B,)` of `subsets`."""
        return (present.long() << torch.arange(present.shape[1], device=present.device)).sum(dim=1)

    def proper_subsets(self) -> list[tuple[bool, ...]]:
        """Every set of modalities but the empty and the whole one."""
        return [
            present for present in product((False, True), repeat=len(self.channels)) if 0 < sum(present) < len(present)
        ]

    def columns(self, present: Sequence[bool]) -> Tensor:
        """Which measures `(measures,)` bool there are of some modalities."""
        contrasts = [there for there, number in zip(present, self.channels, strict=True) for _ in range(number)]
        return torch.tensor([*present, *contrasts])

    @torch.no_grad()
    def set(self, mean: Tensor, scale: Tensor, weight: Tensor, bias: float) -> None:
        """Takes the fitted numbers of all modalities, each `(measures,)`."""
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        self.linear.weight.copy_(weight[None])
        self.linear.bias.fill_(bias)

    @torch.no_grad()
    def set_subset(self, present: Sequence[bool], mean: Tensor, scale: Tensor, weight: Tensor, bias: float) -> None:
        """Takes the fitted numbers of some modalities, of their measures only."""
        own = self.columns(present)
        parts = []
        for fitted, neutral in ((mean, 0.0), (scale, 1.0), (weight, 0.0)):
            part = torch.full(own.shape, neutral)
            part[own] = fitted.float().cpu()
            parts.append(part)
        row = torch.cat([*parts, torch.tensor([bias])])
        self.subsets[int(self.index(torch.tensor([present])))] = row.to(self.subsets)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """A head of an earlier version has no fits of subsets."""
        if f"{prefix}subsets" not in state_dict:
            state_dict = {**state_dict, f"{prefix}subsets": torch.zeros_like(self.subsets)}
        super()._load_from_state_dict(state_dict, prefix, *args)
