"""What methods share that compare two views of a crop without labels: settings, views, the watch for a collapse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import RunContext
from nnunet_mgcl.engine.loading import apart
from nnunet_mgcl.engine.training_loop import Batch, Job, Observer
from nnunet_mgcl.engine.training_warnings import TrainingWarning
from nnunet_mgcl.plan.config import BatchSize, Epochs, PhaseSettings
from nnunet_mgcl.pretraining.monitor.spread import COLLAPSED, SpreadWatch
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.pretraining.strong_views import perturb
from nnunet_mgcl.system.errors import UserError

Width = Annotated[int, Field(ge=2)]


class ViewSettings(PhaseSettings):
    """What the methods with two views share; as MGCL's `coarse` where that has it too (section 4.2 of its paper)."""

    batch_2d = 70

    epochs: Epochs = Field(120, description="passes over the phase's slices (2d) or cases (3d)")
    batch_size: BatchSize | None = Field(None, description="crops a step; null: 70 in 2d, the plan's in 3d")
    embedding_dim: Width = Field(128, description="length of an embedding")
    strong: bool = Field(True, description="changes contrast, brightness, noise, sharpness of nnU-Net's views further")

    def resolved(self, batch_size: int, patch_size: list[int], where: str) -> Any:
        """As of every phase; a batch of a single crop has nothing to compare, and no spread."""
        filled = super().resolved(batch_size, patch_size, where)
        if filled.batch_size == 1:
            raise UserError(f"{where}.batch_size", "1", "two crops at least: one has nothing to compare", "raise it")
        return filled


class TwoViews(Pretext):
    """Trains the encoder on pairs of views. What follows the encoder is thrown away."""

    trains: ClassVar[tuple[str, ...]] = ("encoder",)
    label_free, views = True, 2

    def loss(self, run: RunContext, outputs: Sequence[Tensor], batch: Batch) -> Tensor:
        """The loss of what the model makes of a batch's views."""
        raise NotImplementedError

    def titles(self) -> dict[str, str]:
        """The loss, and the spread of the embeddings."""
        return super().titles() | {f"{self.name}_spread": f"{self.name}: spread of the embeddings"}

    def warnings(self, run: RunContext, branch: Branch, observer: Observer) -> list[TrainingWarning]:
        """A collapse of the embeddings."""
        if not (isinstance(observer, SpreadWatch) and observer.collapsed):
            return []
        lower = {f"{self.block}.lr": f"{self.settings(run.config).lr / 10:g}"}
        found = f"its embeddings collapse: spread below {COLLAPSED}, while 1 is even"
        remedy = f"lower its learning rate: {run.memory.plan_command(lower, 'lower_lr')}"
        return [TrainingWarning(self.name, branch.name, found, remedy)]

    def job(
        self, run: RunContext, branch: Branch, model: nn.Module, dataset: ModalityDataset, regions: bool = False
    ) -> Job:
        """With the watch."""
        watch = SpreadWatch(self.name, branch.name)
        job = super().job(run, branch, model, dataset, regions)
        return replace(job, step=partial(self._compare, run, watch), observer=watch)

    def _compare(self, run: RunContext, watch: SpreadWatch, model: nn.Module, batch: Batch) -> tuple[Tensor, None]:
        views = apart(batch["data"].to(run.device, non_blocking=True), self.views)
        if self.settings(run.config).strong:
            views = perturb(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        outputs = model(views)
        watch.note(outputs[0])
        return self.loss(run, outputs, batch), None
