"""Phases `seed` and `self_train`: each branch's U-Net by itself, Dice + cross-entropy (section 4.2)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.context import Branch, PhaseContext
from nnunet_mgcl.engine.datasets import confident_cases, labelled_and_pool_dataset, labelled_dataset, pseudo_label_notes
from nnunet_mgcl.engine.loading import iterations_per_epoch, open_batches
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.engine.supervised_loss import supervised_loss, supervised_step
from nnunet_mgcl.engine.training_loop import Job, train
from nnunet_mgcl.plan.config import SupervisedConfig
from nnunet_mgcl.pretraining.monitor.warning_signs import confidence_warning
from nnunet_mgcl.pretraining.teacher_length import teacher_length
from nnunet_mgcl.pretraining.warm_start import continue_from
from nnunet_mgcl.system.files import replacing


class Seed:
    """Trains the networks that make the first pseudo-labels, on the fold's labelled training cases."""

    name = "seed"

    def run(self, context: PhaseContext) -> None:
        """Trains every branch that has unlabelled cases; the log names the others once, here."""
        for branch in context.branches:
            if not context.pool.get(branch.name):
                context.log(f"{branch.name}: no unlabelled cases, contrasting the labelled training cases")
        for branch in branches_with_pool(context, self.name):
            config = context.config.seed.model_copy(update={"epochs": teacher_length(context, branch)})
            train_unet(context, self.name, branch, labelled_dataset(context, branch), config)


class SelfTrain:
    """Trains on, or anew, on labelled cases and confident pseudo-labels (one iteration, section 4.2)."""

    name = "self_train"

    def run(self, context: PhaseContext) -> None:
        """Trains every branch that has unlabelled cases."""
        for branch in branches_with_pool(context, self.name):
            confident = confident_cases(context, branch)
            context.log(
                f"{self.name} {branch.name}: {len(confident)} of {len(context.pool[branch.name])} pool cases reach "
                f"confidence {context.config.pseudo_label.confidence}"
            )
            confidences = [note["confidence"] for note in pseudo_label_notes(context, branch, round_=1).values()]
            warning = confidence_warning(context, self.name, branch.name, confidences)
            context.warnings.replace(self.name, branch.name, [warning] if warning else [])
            dataset = labelled_and_pool_dataset(context, branch, confident, round_=1)
            train_unet(context, self.name, branch, dataset, context.config.self_train)


def branches_with_pool(context: PhaseContext, phase: str) -> list[Branch]:
    """The branches that `phase` still has to do; without unlabelled cases there is nothing to make masks for."""
    return [b for b in context.branches if context.pool.get(b.name) and not context.state.is_done(phase, b.name)]


def train_unet(
    context: PhaseContext, phase: str, branch: Branch, dataset: ModalityDataset, config: SupervisedConfig
) -> None:
    """Trains one branch's U-Net, from `seed`'s if that may be, and leaves `network.pth`."""
    reseed(context.config.random_seed, context.fold, phase, branch.name, "initialisation")
    unet = branch.build_unet()
    if phase != Seed.name:
        continue_from(Seed.name, unet, branch.name, context)
    batch_size = config.batch_size or branch.configuration.batch_size
    loss = supervised_loss(context, branch)
    train(
        context,
        Job(
            phase,
            branch.name,
            unet,
            config,
            cosine=True,
            epochs=config.epochs,
            iterations=iterations_per_epoch(context, dataset, batch_size),
            batches=partial(open_batches, context, branch, dataset, batch_size, region_targets=True),
            step=partial(supervised_step, context, loss),
        ),
    )
    finish_branch(context, phase, branch.name, unet)


def finish_branch(context: PhaseContext, phase: str, branch: str, result: nn.Module | dict[str, Tensor]) -> None:
    """Writes a branch's result, marks it done and removes the resume point, in this order."""
    save_result(context, phase, branch, result)
    mark_finished(context, phase, branch)


def save_result(context: PhaseContext, phase: str, branch: str, result: nn.Module | dict[str, Tensor]) -> None:
    """Writes what a phase made of a branch."""
    if context.is_first_rank:
        state = result.state_dict() if isinstance(result, nn.Module) else result
        with replacing(context.fold_layout.phase(phase, branch) / "network.pth") as temporary:
            torch.save(state, temporary)


def mark_finished(context: PhaseContext, phase: str, branch: str) -> None:
    """Marks a branch done, whose result all processes may read from here on, and removes its resume point."""
    context.wait_for_all()
    context.state.mark_done(phase, branch)
    if context.is_first_rank:
        (context.fold_layout.phase(phase, branch) / "checkpoint_latest.pth").unlink(missing_ok=True)
