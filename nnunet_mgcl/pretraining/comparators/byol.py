"""Phase `byol`: the network predicts what an average of its own weights sees (Grill et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import cos, pi

import torch
from pydantic import Field
from torch import Tensor, nn

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import RunContext
from nnunet_mgcl.engine.training_loop import Batch, Job
from nnunet_mgcl.losses.agreement import byol_loss
from nnunet_mgcl.network.average import move_towards
from nnunet_mgcl.network.branch import UNet, unwrap
from nnunet_mgcl.network.projection import CropProjection, perceptron
from nnunet_mgcl.plan.config import Momentum
from nnunet_mgcl.pretraining.comparators.simsiam import through_heads
from nnunet_mgcl.pretraining.comparators.two_views import TwoViews, ViewSettings, Width
from nnunet_mgcl.pretraining.monitor.spread import SpreadWatch


class BYOLSettings(ViewSettings):
    """Phase `byol`: an average of the network's own weights teaches it, without negatives."""

    hidden: Width = Field(256, description="width of the hidden layers of projector and predictor")
    momentum: Momentum = Field(
        0.99, description="share of its weights that the teacher keeps at the first step; rises to 1 as a cosine"
    )


class BYOL(TwoViews):
    """Eq. 1 and 2. Positive: the other view through the teacher. There are no negatives."""

    name, title = "byol", "two views agree (averaged teacher)"
    Settings = BYOLSettings

    def model(self, run: RunContext, branch: Branch, unet: UNet) -> BYOLModel:
        """The student's encoder with projector and predictor, and the teacher."""
        return BYOLModel(unet, self.settings(run.config))

    def job(
        self, run: RunContext, branch: Branch, model: nn.Module, dataset: ModalityDataset, regions: bool = False
    ) -> Job:
        """Tells the model how long the training is."""
        job = super().job(run, branch, model, dataset, regions)
        assert isinstance(model, BYOLModel)
        model.steps_in_all = job.epochs * job.iterations
        return job

    def _compare(self, run: RunContext, watch: SpreadWatch, model: nn.Module, batch: Batch) -> tuple[Tensor, None]:
        """The teacher follows at the start of a step, when the last one has moved the student."""
        student = unwrap(model)
        assert isinstance(student, BYOLModel)
        student.follow()
        return super()._compare(run, watch, model, batch)

    def loss(self, run: RunContext, outputs: Sequence[Tensor], batch: Batch) -> Tensor:
        """The symmetric loss."""
        _, predictions, targets = outputs
        return byol_loss(predictions, targets)


class BYOLModel(nn.Module):
    """z = g(f(x)), q(z) and the teacher's z' = g'(f'(x)).

    Args:
        unet: The branch's U-Net; only its encoder takes part.
        settings: Widths and momentum.
    """

    steps: Tensor

    def __init__(self, unet: UNet, settings: BYOLSettings) -> None:
        super().__init__()
        self.encoder, widths = unet.encoder, [settings.hidden, settings.embedding_dim]
        self.projector = CropProjection(unet.encoder.output_channels, widths)
        self.predictor = perceptron([settings.embedding_dim, *widths])
        self.teacher = nn.ModuleList([deepcopy(self.encoder), deepcopy(self.projector)]).requires_grad_(False)
        self.momentum, self.steps_in_all = settings.momentum, 1
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views `(2, B, C, [Z,] X, Y)` to z, q(z) and z' `(2, B, D)`."""
        embeddings, predictions = through_heads(self.encoder, self.projector, self.predictor, views)
        encoder, projector = self.teacher
        with torch.no_grad():
            targets, _ = through_heads(encoder, projector, nn.Identity(), views)
        return embeddings, predictions, targets

    @torch.no_grad()
    def follow(self) -> None:
        """One step of the average: 1 - (1 - momentum) (cos(pi k / K) + 1) / 2 of itself stays (section 3.2)."""
        share = 1 - (1 - self.momentum) * (cos(pi * int(self.steps) / self.steps_in_all) + 1) / 2
        self.steps += 1
        for teacher, student in zip(self.teacher, (self.encoder, self.projector), strict=True):
            move_towards(teacher, student, share)
