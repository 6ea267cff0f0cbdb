"""Whether the embeddings of a method without negatives collapse to one point."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_mgcl.engine.curves import Curves
from nnunet_mgcl.engine.training_loop import Observer

COLLAPSED = 0.5
"""Below this share of an even spread the embeddings have lost most of their directions."""


def spread(embeddings: Tensor) -> Tensor:
    """Standard deviation of unit vectors per dimension, as a share of 1 / sqrt(D): 1 spread evenly, 0 collapsed.

    Section 4.1 of Chen and He (SimSiam, CVPR 2021).

    Args:
        embeddings: `(N, D)`, any length.
    """
    vectors = F.normalize(embeddings.detach().float(), dim=1)
    return vectors.std(dim=0).mean() * vectors.shape[1] ** 0.5


class SpreadWatch(Observer):
    """Notes the spread of every epoch's embeddings, and draws it.

    Args:
        phase: Its name.
        branch: The branch.
    """

    def __init__(self, phase: str, branch: str) -> None:
        super().__init__()
        self.name = (phase, branch)
        self.notes: dict[str, Any] = {"spread": []}
        self._batches: list[Tensor] = []

    def note(self, embeddings: Tensor) -> None:
        """Takes the embeddings `(..., D)` of a batch."""
        self._batches.append(spread(embeddings.flatten(0, -2)))

    def after_epoch(self, module: nn.Module, curve: list[float]) -> None:
        """The mean over the epoch's batches."""
        self.notes["spread"].append(float(torch.stack(self._batches).mean()))
        self._batches = []

    def text(self, curve: list[float]) -> str:
        """The last one, behind the loss."""
        return f" (spread {self.notes['spread'][-1]:.2f}; 1 even, 0 collapsed)"

    def draw(self, curves: Curves, finished: bool) -> None:
        """A panel of its own."""
        phase, branch = self.name
        axes = ("epoch", "spread of embeddings")
        even = {"even": [1.0] * len(self.notes["spread"])}
        curves.update(f"{phase}_spread", branch, self.notes["spread"], finished=finished, axes=axes, beside=even)

    @property
    def collapsed(self) -> bool:
        """Whether the last epoch's embeddings had collapsed."""
        return self.notes["spread"][-1] < COLLAPSED
