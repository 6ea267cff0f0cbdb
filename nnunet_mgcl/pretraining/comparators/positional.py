"""Phase `positional`: slices at nearby positions of any volume are alike (PCL; Zeng et al., MICCAI 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from nnunet_mgcl.engine.context import RunContext
from nnunet_mgcl.engine.training_loop import Batch
from nnunet_mgcl.losses import supcon_loss
from nnunet_mgcl.plan.config import Share
from nnunet_mgcl.pretraining.comparators.positions import PositionLoader
from nnunet_mgcl.pretraining.comparators.simclr import ContrastiveViewSettings, SimCLR


class PositionalSettings(ContrastiveViewSettings):
    """Phase `positional`: slices at nearby positions of any volume are alike."""

    reach: Share = Field(0.1, description="positions nearer than this share of a volume are positives")


class PositionalCL(SimCLR):
    """Eq. 1. Positives: both views of all crops, of any volume, nearer than `reach`. Negatives: all others."""

    name, title, loader = "positional", "slices at nearby positions", PositionLoader
    Settings = PositionalSettings

    def loss(self, run: RunContext, outputs: Sequence[Tensor], batch: Batch) -> Tensor:
        """The mean over each anchor's positives, over the crops of all processes."""
        (embeddings,) = outputs
        settings, positions = self.settings(run.config), batch["positions"].to(embeddings.device).repeat(self.views)
        return supcon_loss(embeddings.flatten(0, 1), positions, temperature=settings.temperature, reach=settings.reach)
