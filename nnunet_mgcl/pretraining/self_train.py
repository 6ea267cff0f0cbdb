"""Phase `self_train`: trains on with labelled cases and confident pseudo-labels (one iteration, section 4.2)."""

from __future__ import annotations

from pydantic import Field

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.datasets import labelled_and_pool_dataset
from nnunet_mgcl.plan.config import Epochs, PhaseSettings
from nnunet_mgcl.pretraining.monitor.lesion_counts import confident_cases, pseudo_label_notes
from nnunet_mgcl.pretraining.monitor.warning_signs import confidence_warning
from nnunet_mgcl.pretraining.teacher import SupervisedPhase


class SelfTrainSettings(PhaseSettings):
    """Phase `self_train`: each branch by itself, Dice + cross-entropy."""

    epochs: Epochs = Field(120, description="passes over the phase's samples")


class SelfTrain(SupervisedPhase):
    """Trains each branch's U-Net with the pool cases whose pseudo-labels are confident."""

    name, title = "self_train", "segmentation with the pool"
    reads = ("pseudo_label_1",)
    Settings = SelfTrainSettings

    def cases(self, context: FoldContext, branch: Branch) -> tuple[ModalityDataset, int]:
        """The labelled training cases and the confident ones of the pool."""
        confident = confident_cases(context, branch)
        context.log(
            f"{self.name} {branch.name}: {len(confident)} of {len(context.pool[branch.name])} pool cases reach "
            f"confidence {context.config.block('pseudo_label').confidence}"
        )
        confidences = [note["confidence"] for note in pseudo_label_notes(context, branch, round_=1).values()]
        warning = confidence_warning(context, self.name, branch.name, confidences)
        context.warnings.replace(self.name, branch.name, [warning] if warning else [])
        dataset = labelled_and_pool_dataset(context, branch, confident, round_=1)
        return dataset, self.settings(context.config).epochs
