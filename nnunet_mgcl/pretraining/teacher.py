"""Phase `seed`, the teacher: each branch's U-Net by itself, Dice + cross-entropy (section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

from pydantic import Field

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.datasets import labelled_dataset
from nnunet_mgcl.engine.results import finish_branch
from nnunet_mgcl.engine.supervised_loss import supervised_loss, supervised_step
from nnunet_mgcl.engine.training_loop import Job, train
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.plan.config import Epochs, MGCLConfig, Older, PhaseSettings
from nnunet_mgcl.pretraining.handover import PARTS, state_of
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.pretraining.teacher_length import teacher_length


class TeacherSettings(PhaseSettings):
    """Phase `seed`: each branch by itself, Dice + cross-entropy."""

    epochs: Epochs = Field(80, description="passes over the phase's samples")
    stretch: Annotated[Annotated[float, Field(ge=1, le=100)], Older(1.0)] = Field(
        4.0,
        description="`epochs` is the shortest length; up to so many times as long while the loss on left-out training "
        "cases falls; 1: never",
    )


class SupervisedPhase(Pretext):
    """Trains each branch's whole U-Net on masks, if it has unlabelled cases; without these nobody needs the result."""

    trains, unit = PARTS, None

    def hands_on(self, config: MGCLConfig) -> bool:
        """Whether the plan has a warm start: else it only makes pseudo-labels."""
        return config.warm_start

    def train_branch(self, run: FoldContext, branch: Branch, earlier: Sequence[Pretext]) -> None:
        """Trains a branch's U-Net and leaves it whole."""
        if run.pool.get(branch.name):
            dataset, epochs = self.cases(run, branch)
            unet = self.start(run, branch, earlier)
            train(run, self._job(run, branch, unet, dataset, epochs))
            finish_branch(run, self.name, branch.name, state_of(unet, self.trains))

    def cases(self, context: FoldContext, branch: Branch) -> tuple[ModalityDataset, int]:
        """What it trains on, and for how many epochs."""
        raise NotImplementedError

    def _job(self, run: FoldContext, branch: Branch, unet: UNet, dataset: ModalityDataset, epochs: int) -> Job:
        step = partial(supervised_step, run, supervised_loss(run, branch))
        return replace(self.job(run, branch, unet, dataset, regions=True), epochs=epochs, step=step)


class Teacher(SupervisedPhase):
    """Trains the networks that make the first pseudo-labels, on the fold's labelled training cases."""

    name, title = "seed", "segmentation on the labelled cases"
    Settings = TeacherSettings

    def titles(self) -> dict[str, str]:
        """Its loss, and the search for its length."""
        return {
            "seed_length": "seed_length: the search for seed's length",
            "seed_length_left_out": "seed_length: training cases left out",
        } | super().titles()

    def run(self, run: FoldContext, earlier: Sequence[Pretext] = ()) -> None:
        """Trains every branch that has unlabelled cases; the log names the others once, here."""
        for branch in run.branches:
            if not run.pool.get(branch.name):
                run.log(f"{branch.name}: no unlabelled cases, contrasting the labelled training cases")
        super().run(run, earlier)

    def cases(self, context: FoldContext, branch: Branch) -> tuple[ModalityDataset, int]:
        """The labelled training cases, for as long as the loss on cases left out falls."""
        return labelled_dataset(context, branch), teacher_length(context, branch, self.settings(context.config))
