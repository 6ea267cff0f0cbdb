"""The trainer that goes beyond the paper: the pool takes part in `segment` itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnunet_mgcl.pretraining.mean_teacher import LossWithPool, MeanTeacher
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


class MGCLTrainerMeanTeacher(MGCLTrainer):
    """Segmentation of labelled and pool cases at once, without contrast; then the TSS head.

    An average of the network's weights labels the pool's samples as nnU-Net has augmented them; the network learns
    these labels from views that are disturbed further. Not of the paper; docs/method.md has the sources.
    """

    pretraining = ()
    pool_in_segment = True

    @property
    def samples_per_step(self) -> int:
        """Labelled and unlabelled ones."""
        return self.batch_size + (self.config.mean_teacher.batch_size or self.batch_size)

    def _build_loss(self) -> nn.Module:
        return LossWithPool(super()._build_loss())

    @property
    def supervised_loss(self) -> Any:
        """nnU-Net's loss inside the joint one."""
        return self.loss.supervised

    def on_train_start(self) -> None:
        """As in `MGCLTrainer`; then makes the teacher, or goes on with it."""
        super().on_train_start()
        assert self.context is not None
        self._require_pool()
        self.teacher = MeanTeacher(self.context, self.samples_per_step - self.batch_size)
        self.loss.context = self.context
        if self.checkpoint_loaded and not self.teacher.load(self._teacher_file, self.current_epoch):
            self.log("mean_teacher: no teacher of this epoch was saved; it starts again from the network's weights")

    def _require_pool(self) -> None:
        assert self.context is not None
        name = type(self).__name__
        if without := [branch.name for branch in self.context.branches if not self.context.pool.get(branch.name)]:
            raise UserError(
                f"{name}: the pool", f"no unlabelled case of {', '.join(without)}", "some of every modality",
                "add scans to imagesUn, or train MGCLTrainer",
            )  # fmt: skip
        if len(self.context.branches) > 1 and not self.config.lesion_labels:
            raise UserError(
                f"{name}: the labels", f"one label map for {len(self.context.branches)} branches",
                "lesion_labels (a mask per modality), or one branch: an unpaired scan has no fused label",
                'put all channels into one branch ("mgcl": {"modalities": {"MRI": [0, 1]}} in dataset.json), '
                "or train MGCLTrainer",
            )  # fmt: skip

    @property
    def _teacher_file(self) -> Path:
        return self.fold_layout.phase("mean_teacher") / "teacher.pth"

    def train_step(self, batch: dict) -> dict:
        """nnU-Net's step on labelled samples with the pool's behind them."""
        done = self.current_epoch + self._step_of_epoch / self.num_iterations_per_epoch
        self._step_of_epoch += 1
        pool = self.teacher.samples(done / self.num_epochs)
        if pool is not None:
            images = batch["data"].to(self.device, non_blocking=True)
            batch = batch | {"data": torch.cat([images, pool.images])}
        self.loss.pool = pool
        try:
            result = super().train_step(batch)
        finally:
            self.loss.pool = None
        self.teacher.update(self.network)
        return result

    def on_epoch_start(self) -> None:
        """Counts the steps of the epoch."""
        super().on_epoch_start()
        self._step_of_epoch = 0

    def save_checkpoint(self, filename: str) -> None:
        """As in `MGCLTrainer`; the teacher is written beside the resume point, before it."""
        if Path(filename).name == "checkpoint_latest.pth" and self.local_rank == 0 and not self.disable_checkpointing:
            self.teacher.save(self._teacher_file, self.current_epoch + 1)
        super().save_checkpoint(filename)

    def on_train_end(self) -> None:
        """As in `MGCLTrainer`, without the pool's loaders."""
        self.teacher.close()
        super().on_train_end()
        if self.local_rank == 0:
            self._teacher_file.unlink(missing_ok=True)
