"""What `coarse` and `fine` share: their course, which cases a branch contrasts, and whether it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from nnunet_mgcl.config import CoarseConfig, FineConfig
from nnunet_mgcl.data.modality_dataset import ModalityDataset
from nnunet_mgcl.losses import IGNORE_INDEX, supcon_loss
from nnunet_mgcl.network.branch import StateDict, UNet
from nnunet_mgcl.phases.context import Branch, PhaseContext
from nnunet_mgcl.phases.contrast_watch import ContrastWatch
from nnunet_mgcl.phases.datasets import labelled_dataset, pool_dataset
from nnunet_mgcl.phases.left_out import MOST_WATCHED, cases_left_out, shuffled_cases
from nnunet_mgcl.phases.loading import iterations_per_epoch, open_batches
from nnunet_mgcl.phases.seeding import reseed
from nnunet_mgcl.phases.supervised import finish_branch
from nnunet_mgcl.phases.training_loop import Batch, Job, train

ONE_CLASS = "one-class batch (zero loss)"
FEWEST_CASES = 6
"""Labelled training cases from which on a few are left out of the contrast of the others."""


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
        """Trains every branch; one whose cases hold a single class is skipped and keeps its initialisation."""
        for branch in context.branches:
            if not context.state.is_done(self.name, branch.name):
                self._run_branch(context, branch)

    def _run_branch(self, context: PhaseContext, branch: Branch) -> None:
        reseed(context.config.random_seed, context.fold, self.name, branch.name, "initialisation")
        unet = self.start(context, branch)
        cases = contrast_cases(context, branch)
        if has_two_classes(cases.contrasted, partial(self.labels_of, context, branch)):
            model = self.model(context, branch, unet)
            contrast(context, self.name, branch, cases, model, self.config(context))
        else:
            context.state.mark_skipped(self.name, branch.name)
            context.log(
                f"{self.name} {branch.name}: skipped, its cases hold a single class; {self.part} as initialised"
            )
        finish_branch(context, self.name, branch.name, self.result(unet))


@dataclass(frozen=True)
class ContrastCases:
    """Attributes: contrasted: what the batches are of; left_out: labelled training cases that are in none of them."""

    contrasted: ModalityDataset
    left_out: list[str]


def contrast_cases(context: PhaseContext, branch: Branch) -> ContrastCases:
    """The branch's pool with its second pseudo-labels, or the labelled cases where there is no pool."""
    if context.pool.get(branch.name):
        left_out = shuffled_cases(context, branch)[:MOST_WATCHED]
        return ContrastCases(pool_dataset(context, branch, round_=2), left_out)
    left_out = cases_left_out(context, branch, FEWEST_CASES)
    own = [case for case in context.train_cases if case not in left_out]
    return ContrastCases(labelled_dataset(context, branch, own), left_out)


def has_two_classes(dataset: ModalityDataset, labels_of: Callable[[Tensor], Tensor]) -> bool:
    """Whether the masks hold samples of both classes; contrast needs both.

    Args:
        dataset: The cases.
        labels_of: Labels of the samples in the slices `(Z, 1, X, Y)` of a mask.
    """
    seen: set[int] = set()
    for identifier in dataset.identifiers:
        mask = np.asarray(dataset.load_case(identifier)[1][:], dtype=np.int16)
        seen.update(labels_of(torch.from_numpy(mask).transpose(0, 1)).unique().tolist())
        if {0, 1} <= seen:
            return True
    return False


def contrast(
    context: PhaseContext,
    phase: str,
    branch: Branch,
    cases: ContrastCases,
    module: nn.Module,
    config: CoarseConfig | FineConfig,
) -> None:
    """Trains `module`, which takes a batch to embeddings and labels, by supervised contrast."""
    assert config.batch_size is not None
    dataset = cases.contrasted
    left_out = labelled_dataset(context, branch, cases.left_out) if cases.left_out else None
    if left_out is None:
        context.log(f"{phase} {branch.name}: no training case can be left out of its batches, so there is no kNN")
    watch = ContrastWatch(context, phase, branch, config.epochs, config.temperature, left_out)
    train(
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
