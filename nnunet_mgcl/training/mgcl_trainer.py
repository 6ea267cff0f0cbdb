"""The trainer: nnU-Net's own life cycle with the phases of MGCL before and after its training loop."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch.distributed as dist
from nnunetv2.training.loss.dice import get_tp_fp_fn_tn
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnunet_mgcl.data.prepare import Prepared, prepare_dataset
from nnunet_mgcl.engine.branches import build_branches
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.costs import Cost
from nnunet_mgcl.engine.out_of_memory import explaining_out_of_memory
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.engine.training_loop import no_finite_loss, on_cases
from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.course import hand_over, pretrain
from nnunet_mgcl.pretraining.fine import Fine
from nnunet_mgcl.pretraining.protocol import Companion, InSegment, Pretext
from nnunet_mgcl.pretraining.pseudo_label import PseudoLabel
from nnunet_mgcl.pretraining.self_train import SelfTrain
from nnunet_mgcl.pretraining.teacher import Teacher
from nnunet_mgcl.system.devices import use_own_cores
from nnunet_mgcl.system.errors import ending_with_one_message
from nnunet_mgcl.system.files import explaining_writes, remove_leftovers, replacing
from nnunet_mgcl.system.run_lock import run_lock
from nnunet_mgcl.system.versions import note_versions
from nnunet_mgcl.training.base_trainer import BaseTrainer, augmentation_of
from nnunet_mgcl.training.head_warning import warn_of_head
from nnunet_mgcl.training.incomplete_cases import batch_as_incomplete, require_enough, validating_incomplete
from nnunet_mgcl.training.results_folder import set_old_run_aside, write_shared_plans
from nnunet_mgcl.training.run_inputs import check_run_inputs
from nnunet_mgcl.training.validation import write_validation_extras
from nnunet_mgcl.tss.phase import TSS, forget_head


class MGCLTrainer(BaseTrainer):
    """Multi-grained contrastive pretraining, segmentation and TSS classification (Sun et al., 2024)."""

    pretraining: Sequence[Pretext] = (
        Teacher(),
        PseudoLabel(1, source="seed"),
        SelfTrain(),
        PseudoLabel(2, source="self_train"),
        Coarse(),
        Fine(),
    )
    context: FoldContext | None = None
    companion: Companion | None = None
    _step_of_epoch = 0

    @ending_with_one_message()
    def run_training(self) -> None:
        """nnU-Net's training; a full disk, a missing permission or a full GPU ends it with one message."""
        use_own_cores(self.device)
        root = self.fold_layout.root
        guard = run_lock(root / ".lock", root, "training") if self.local_rank == 0 else nullcontext()
        explained = explaining_out_of_memory(self.memory, "segment", "all branches", self.device)
        with explaining_writes(folder=root), guard, explained:
            super().run_training()

    def on_train_start(self) -> None:
        """Prepares the data, runs the phases before `segment`, then starts nnU-Net's training."""
        self._refuse_other_plans()
        pretrained = self.was_initialized and self.weights_loaded and not self.checkpoint_loaded
        if not self.was_initialized:
            self.initialize()
        prepared = self._prepare()
        if self.local_rank == 0:
            if not self.continue_training and not self.checkpoint_loaded:
                set_old_run_aside(self.fold_layout, self.log)
            remove_leftovers(self.fold_layout.root)
        if self.is_ddp:
            dist.barrier()
        self.context = self._build_context(prepared)
        require_enough(self.context)
        check_run_inputs(
            self.context, self._described_plan(), self.dataset_json, pretrained,
            reads_pool=self.uses_pool, going_on=self.checkpoint_loaded, pool_to_the_end=self.in_segment is not None,
        )  # fmt: skip
        if self.local_rank == 0:
            write_shared_plans(self.results_base, self.plans_manager.plans, self.dataset_json, self.log)
            note_versions(self.fold_layout.versions)
        self._log_decisions(self.context)
        self._start_segment(self.context, pretrained)
        super().on_train_start()
        if self.in_segment:
            self.companion = self._begin_companion(self.in_segment, self.context)

    def _start_segment(self, context: FoldContext, pretrained: bool) -> None:
        """Fills the network, from a checkpoint, from -pretrained_weights or by the phases before `segment`."""
        if self.checkpoint_loaded:
            self.log("segmentation goes on from a checkpoint; the phases before it are done")
            if self.current_epoch < self.num_epochs:
                forget_head(context)
        elif pretrained:
            self.log("starts at segment, with the weights of -pretrained_weights")
            if (head := self.mgcl_network.tss) is not None:
                head.trained.fill_(False)  # theirs may be, but on the encoders that `segment` is about to change
        else:
            pretrain(self.pretraining, context)
            forget_head(context)
            hand_over(self.pretraining, context)

    def _begin_companion(self, method: InSegment, context: FoldContext) -> Companion:
        """Starts what goes along with `segment`, or goes on with it."""
        companion = method.begin(context, self.loss, self.samples_per_step - self.batch_size)
        if self.checkpoint_loaded and not companion.load(self._companion_file(), self.current_epoch):
            self.log(f"{method.name}: nothing of this epoch was saved; it starts again from the network's weights")
        return companion

    def _companion_file(self) -> Path:
        """Not a property: nnU-Net reads those of every trainer for its debug file."""
        assert self.in_segment is not None
        return self.fold_layout.phase(self.in_segment.name) / "teacher.pth"

    def on_epoch_start(self) -> None:
        """Seeds the epoch."""
        reseed(self.config.random_seed, self.fold, "segment", self.current_epoch, self.local_rank)
        super().on_epoch_start()
        self._step_of_epoch = 0

    def on_epoch_end(self) -> None:
        """nnU-Net's end of an epoch; the loss also joins the picture of all phases."""
        super().on_epoch_end()
        if self.local_rank == 0 and self.context is not None:
            self._note_cost(self.context)
            losses = [float(loss) for loss in self.logger.get_value("train_losses", step=None)]
            self.context.curves.update(
                "segment", "all branches", losses, finished=self.current_epoch == self.num_epochs
            )

    def _note_cost(self, context: FoldContext) -> None:
        """Seconds by nnU-Net's own clock, which a resumed training has too; validation counts."""
        begun, ended = (self.logger.get_value(f"epoch_{point}_timestamps", step=None) for point in ("start", "end"))
        seconds = sum(end - begin for begin, end in zip(begun, ended, strict=True))
        steps, ranks = self.current_epoch * self.num_iterations_per_epoch, context.world_size
        samples = {"labelled": self.batch_size * ranks}
        if unlabelled := self.samples_per_step - self.batch_size:
            samples["unlabelled"] = unlabelled * ranks
        context.costs.note("segment", "all branches", Cost.of(steps, seconds, samples))

    def train_step(self, batch: dict) -> dict:
        """nnU-Net's step, with what a method adds to it; a NaN stops the training with the cases' names."""
        if self.companion:
            done = self.current_epoch + self._step_of_epoch / self.num_iterations_per_epoch
            batch = self.companion.before_step(batch, done / self.num_epochs)
        with batch_as_incomplete(self, batch):
            result = super().train_step(batch)
        self._step_of_epoch += 1
        if not np.isfinite(result["loss"]):
            where = f"phase segment, epoch {self.current_epoch + 1}"
            found = f"loss {result['loss']} {on_cases(batch)}"
            raise no_finite_loss(where, found, self.memory, "segment", self.initial_lr)
        if self.companion:
            self.companion.after_step(self.network)
        return result

    def validation_step(self, batch: dict) -> dict:
        """nnU-Net's step; with one target a modality, its pseudo Dice counts modalities, not combinations."""
        with batch_as_incomplete(self, batch):
            return (
                self._validation_of_modalities(batch) if self.config.lesion_labels else super().validation_step(batch)
            )

    def _validation_of_modalities(self, batch: dict) -> dict:
        assert self.context is not None
        data, target, supervised = batch["data"].to(self.device), batch["target"], self.supervised_loss
        target = [t.to(self.device) for t in target] if isinstance(target, list) else target.to(self.device)
        with self.context.autocast():
            output = self.network(data)
            loss = self.loss(output, target)
        if isinstance(target, list):  # deep supervision: the finest resolution counts
            supervised, output, target = supervised.loss, output[0], target[0]
        predicted, masks, counted = output[:, supervised.branch_channels] > 0, supervised.decode(target), None
        if self.label_manager.has_ignore_label:
            masks, counted = masks[:, :-1], ~masks[:, -1:]
        axes = [0, *range(2, predicted.ndim)]
        tp, fp, fn, _ = get_tp_fp_fn_tn(predicted.float(), masks.float(), axes=axes, mask=counted)
        result = {"loss": loss, "tp_hard": tp, "fp_hard": fp, "fn_hard": fn}
        return {name: value.cpu().numpy() for name, value in result.items()}

    def on_train_end(self) -> None:
        """Trains the TSS head before nnU-Net writes `checkpoint_final` and deletes `checkpoint_latest`."""
        self.current_epoch -= 1  # nnU-Net's own correction: the counter is one ahead here
        self.save_checkpoint(os.path.join(self.output_folder, "checkpoint_latest.pth"))
        self.current_epoch += 1
        assert self.context is not None
        if self.companion:
            self.companion.close()
        TSS().run(self.context)
        super().on_train_end()
        if self.companion and self.local_rank == 0:
            self._companion_file().unlink(missing_ok=True)

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's checkpoint, written aside and renamed."""
        if self.disable_checkpointing or self.local_rank != 0:
            super().save_checkpoint(filename)
            return
        if self.companion and Path(filename).name == "checkpoint_latest.pth":  # beside the resume point, before it
            self.companion.save(self._companion_file(), self.current_epoch + 1)
        with replacing(Path(filename)) as temporary:
            super().save_checkpoint(str(temporary))

    @ending_with_one_message()
    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """nnU-Net's validation, then the TSS of the validation cases and the Dice of each modality."""
        with explaining_writes(folder=self.fold_layout.root), validating_incomplete(self):
            super().perform_actual_validation(save_probabilities)
            if self.local_rank == 0:
                write_validation_extras(self)
                warn_of_head(self)

    def _log_decisions(self, context: FoldContext) -> None:
        """What the program decided for the user, in one line each."""
        branches = ", ".join(f"{name} (channels {own})" for name, own in (self.config.modalities or {}).items())
        self.log(f"branches: {branches}")
        if (fraction := self.config.labelled_fraction) < 1:
            self.log(f"labelled_fraction {fraction:g}: trains on {len(context.train_cases)} cases")
        if not self.config.tss.enabled:
            self.log("no TSS head: " + ("switched off in the plan" if context.table else "there is no tss.csv"))
        if warning := self.memory.warning(self.samples_per_step):
            self.log(warning)
        if self.continue_training and not self.checkpoint_loaded:
            self.log(f"--c goes on in the phases before segment: {context.state.described()}")

    def _build_context(self, prepared: Prepared) -> FoldContext:
        """What the phases may know of this trainer."""
        train_cases, _ = self.do_split()
        context = FoldContext(
            config=self.config,
            fold=self.fold,
            layout=self.fold_layout,
            dataset_layout=self.dataset_layout,
            branches=build_branches(self.config, self.plans_manager.plans, self.configuration_name, self.dataset_json),
            configuration=self.configuration_manager,
            memory=self.memory,
            train_cases=list(train_cases),
            incomplete=self.incomplete,
            pool=prepared.pool,
            table=prepared.table,
            labelled_folder=self.preprocessed_dataset_folder,
            dataset_class=self.dataset_class,
            ignore_label=self.label_manager.ignore_label,
            augmentation=augmentation_of(self),
            network=self.mgcl_network,
            device=self.device,
            compiles=self._do_i_compile(),
            log=self.log,
            rank=self.local_rank,
            world_size=dist.get_world_size() if self.is_ddp else 1,
        )
        if self.config.left_out_joins_pool:
            context.join_pool([case for case in self.whole_split()[0] if case not in train_cases])
        return context

    def _prepare(self) -> Prepared:
        """Splits, TSS table and pool; the first rank does what is missing, the others then find it done."""
        if self.local_rank != 0:
            dist.barrier()
        prepared = prepare_dataset(
            self.dataset_layout,
            self.plans_manager.plans,
            self.configuration_name,
            max(1, get_allowed_n_proc_DA()),
            self.print_to_log_file,
            fold=self.fold,
            uses_pool=self.uses_pool,
        )
        if self.is_ddp and self.local_rank == 0:
            dist.barrier()
        return prepared
