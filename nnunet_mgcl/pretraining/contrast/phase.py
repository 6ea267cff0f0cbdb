"""What `coarse` and `fine` share: their course and their step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext, RunContext
from nnunet_mgcl.engine.datasets import labelled_dataset
from nnunet_mgcl.engine.results import finish_branch
from nnunet_mgcl.engine.training_loop import Batch, train
from nnunet_mgcl.engine.training_warnings import TrainingWarning
from nnunet_mgcl.losses import IGNORE_INDEX, supcon_loss
from nnunet_mgcl.plan.config import PhaseSettings, Positive
from nnunet_mgcl.pretraining.contrast.cases import ContrastCases, contrast_cases
from nnunet_mgcl.pretraining.contrast.watch import ContrastWatch
from nnunet_mgcl.pretraining.handover import state_of
from nnunet_mgcl.pretraining.monitor.warning_signs import contrast_warning, fallback_warning, one_class_warning
from nnunet_mgcl.pretraining.protocol import Pretext

ONE_CLASS = "one-class batch (zero loss)"


class ContrastSettings(PhaseSettings):
    """What the two contrastive phases share."""

    temperature: Positive = Field(0.1, description="tau of Eq. 4 and 8")
    embedding_dim: Annotated[int, Field(ge=2)] = Field(128, description="length of an embedding")


class ContrastPhase(Pretext):
    """A phase that trains a part of each branch by supervised contrast. The projection head is thrown away."""

    reads = ("pseudo_label_2",)

    def labels_of(self, context: FoldContext, branch: Branch, slices: Tensor) -> Tensor:
        """Labels of the samples in a whole mask `(Z, 1, X, Y)`."""
        raise NotImplementedError

    def titles(self) -> dict[str, str]:
        """The loss, and kNN of the samples left out."""
        return super().titles() | {f"{self.name}_knn": f"{self.name}: kNN of training cases left out"}

    def train_branch(self, run: FoldContext, branch: Branch, earlier: Sequence[Pretext]) -> None:
        """Trains a branch; one of which even the true masks hold a single class stays as it began."""
        unet = self.start(run, branch, earlier)
        cases = contrast_cases(run, branch, partial(self.labels_of, run, branch))
        warnings: list[TrainingWarning] = []
        if cases is None:
            run.state.mark_skipped(self.name, branch.name)
            warnings.append(one_class_warning(self.name, branch.name, self.trains[0]))
        else:
            if cases.unusable:
                warnings.append(fallback_warning(run, self.name, branch.name, cases.unusable, cases.described()))
                run.warnings.replace(self.name, branch.name, warnings)  # before hours of training
            warnings += self._contrast(run, branch, cases, self.model(run, branch, unet))
        run.warnings.replace(self.name, branch.name, warnings)
        finish_branch(run, self.name, branch.name, state_of(unet, self.trains))

    def _contrast(
        self, run: FoldContext, branch: Branch, cases: ContrastCases, model: nn.Module
    ) -> list[TrainingWarning]:
        """Trains the model; returns a warning where that has come to nothing."""
        settings = self.settings(run.config)
        left_out = labelled_dataset(run, branch, cases.left_out) if cases.left_out else None
        if left_out is None:
            run.log(f"{self.name} {branch.name}: no training case can be left out of its batches, so there is no kNN")

        def untrained() -> nn.Module:
            return self.model(run, branch, branch.build_unet())

        watch = ContrastWatch(run, self.name, branch, settings.epochs, settings.temperature, left_out, untrained)
        step = partial(_step, run, settings.temperature, watch)
        curve = train(run, replace(self.job(run, branch, model, cases.contrasted), step=step, observer=watch))
        warning = contrast_warning(run, self.name, branch.name, watch.outcome(curve))
        return [warning] if warning else []


def _step(
    run: RunContext, temperature: float, watch: ContrastWatch, module: nn.Module, batch: Batch
) -> tuple[Tensor, str | None]:
    data = batch["data"].to(run.device, non_blocking=True)
    target = batch["target"].to(run.device, non_blocking=True)
    embeddings, labels = module(data, target)
    loss = supcon_loss(embeddings, labels, temperature=temperature, ignore_index=IGNORE_INDEX)
    counts = run.sum_over_ranks(torch.stack([(labels == 0).sum(), (labels > 0).sum()]))
    if 0 in counts:
        return loss, ONE_CLASS
    watch.note_batch(counts)
    return loss, None
