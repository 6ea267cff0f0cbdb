"""What `coarse` and `fine` share: their course and their step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from nnunet_mgcl.engine.context import Branch, PhaseContext
from nnunet_mgcl.engine.datasets import labelled_dataset
from nnunet_mgcl.engine.loading import iterations_per_epoch, open_batches
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.engine.training_loop import Batch, Job, train
from nnunet_mgcl.engine.training_warnings import TrainingWarning
from nnunet_mgcl.losses import IGNORE_INDEX, supcon_loss
from nnunet_mgcl.network.branch import StateDict, UNet
from nnunet_mgcl.plan.config import CoarseConfig, FineConfig
from nnunet_mgcl.pretraining.contrast.cases import ContrastCases, contrast_cases
from nnunet_mgcl.pretraining.contrast.watch import ContrastWatch
from nnunet_mgcl.pretraining.monitor.warning_signs import contrast_warning, fallback_warning, one_class_warning
from nnunet_mgcl.pretraining.supervised import finish_branch

ONE_CLASS = "one-class batch (zero loss)"


class ContrastPhase:
    """A phase that trains a part of each branch by supervised contrast. The projection head is thrown away.

    Attributes:
        name: Name of the phase.
        part: What it trains, as the log calls it.
    """

    name: str
    part: str

    def config(self, context: PhaseContext) -> CoarseConfig | FineConfig:
        """The phase's settings."""
        raise NotImplementedError

    def start(self, context: PhaseContext, branch: Branch) -> UNet:
        """The branch's U-Net as the phase begins with it."""
        raise NotImplementedError

    def labels_of(self, context: PhaseContext, branch: Branch, slices: Tensor) -> Tensor:
        """Labels of the samples in a whole mask `(Z, 1, X, Y)`."""
        raise NotImplementedError

    def model(self, context: PhaseContext, branch: Branch, unet: UNet) -> nn.Module:
        """What takes a batch to embeddings and labels; its trainable parameters are those of the phase."""
        raise NotImplementedError

    def result(self, unet: UNet) -> StateDict:
        """What the phase hands on."""
        raise NotImplementedError

    def run(self, context: PhaseContext) -> None:
        """Trains every branch; one of which even the true masks hold a single class stays as it began."""
        for branch in context.branches:
            if not context.state.is_done(self.name, branch.name):
                self._run_branch(context, branch)

    def _run_branch(self, context: PhaseContext, branch: Branch) -> None:
        reseed(context.config.random_seed, context.fold, self.name, branch.name, "initialisation")
        unet = self.start(context, branch)
        cases = contrast_cases(context, branch, partial(self.labels_of, context, branch))
        found: list[TrainingWarning] = []
        if cases is None:
            context.state.mark_skipped(self.name, branch.name)
            found.append(one_class_warning(self.name, branch.name, self.part))
        else:
            if cases.unusable:
                found.append(fallback_warning(context, self.name, branch.name, cases.unusable, cases.described()))
                context.warnings.replace(self.name, branch.name, found)  # before hours of training
            model = self.model(context, branch, unet)
            found += contrast(
                context, self.name, branch, cases, model, self.config(context),
                lambda: self.model(context, branch, branch.build_unet()),
            )  # fmt: skip
        context.warnings.replace(self.name, branch.name, found)
        finish_branch(context, self.name, branch.name, self.result(unet))


def contrast(
    context: PhaseContext,
    phase: str,
    branch: Branch,
    cases: ContrastCases,
    module: nn.Module,
    config: CoarseConfig | FineConfig,
    untrained: Callable[[], nn.Module],
) -> list[TrainingWarning]:
    """Trains `module`, which takes a batch to embeddings and labels, by supervised contrast.

    `untrained` makes it anew from He initialisation.

    Returns:
        A warning, where that has come to nothing.
    """
    assert config.batch_size is not None
    dataset = cases.contrasted
    left_out = labelled_dataset(context, branch, cases.left_out) if cases.left_out else None
    if left_out is None:
        context.log(f"{phase} {branch.name}: no training case can be left out of its batches, so there is no kNN")
    watch = ContrastWatch(context, phase, branch, config.epochs, config.temperature, left_out, untrained)
    curve = train(
        context,
        Job(
            phase,
            branch.name,
            module,
            config,
            cosine=True,
            epochs=config.epochs,
            iterations=iterations_per_epoch(context, dataset, config.batch_size),
            batches=partial(open_batches, context, branch, dataset, config.batch_size, region_targets=False),
            step=partial(_step, context, config.temperature, watch),
            observer=watch,
        ),
    )
    warning = contrast_warning(context, phase, branch.name, watch.outcome(curve))
    return [warning] if warning else []


def _step(
    context: PhaseContext, temperature: float, watch: ContrastWatch, module: nn.Module, batch: Batch
) -> tuple[Tensor, str | None]:
    data = batch["data"].to(context.device, non_blocking=True)
    target = batch["target"].to(context.device, non_blocking=True)
    embeddings, labels = module(data, target)
    loss = supcon_loss(embeddings, labels, temperature=temperature, ignore_index=IGNORE_INDEX)
    counts = context.sum_over_ranks(torch.stack([(labels == 0).sum(), (labels > 0).sum()]))
    if 0 in counts:
        return loss, ONE_CLASS
    watch.note_batch(counts)
    return loss, None
