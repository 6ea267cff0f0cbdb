"""The trainer: nnU-Net's own life cycle with the phases of MGCL before and after its training loop."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_mgcl.data.cases.labelled import preprocessed_cases
from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.data.prepare import Prepared, prepare_dataset, tss_known
from nnunet_mgcl.data.splits import fold_cases
from nnunet_mgcl.engine.context import PhaseContext
from nnunet_mgcl.engine.out_of_memory import explaining_out_of_memory
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.losses import ModalityDiceBCELoss
from nnunet_mgcl.network.branch import unwrap
from nnunet_mgcl.network.fusion import branch_channels, label_membership
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.plan.build import build_network
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.plan.plan_command import plan_command
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.fine import Fine
from nnunet_mgcl.pretraining.protocol import Phase
from nnunet_mgcl.pretraining.pseudo_label import PseudoLabel
from nnunet_mgcl.pretraining.segment import Segment, forget_head
from nnunet_mgcl.pretraining.supervised import Seed, SelfTrain
from nnunet_mgcl.system.devices import require_device, require_equal_shares, use_own_cores
from nnunet_mgcl.system.errors import UserError, ending_with_one_message
from nnunet_mgcl.system.files import explaining_writes, read_json, remove_leftovers, replacing
from nnunet_mgcl.system.run_lock import run_lock
from nnunet_mgcl.system.safe_loading import loading_safely
from nnunet_mgcl.system.versions import note_versions
from nnunet_mgcl.training.head_warning import warn_of_head
from nnunet_mgcl.training.modality_validation import modality_validation_step
from nnunet_mgcl.training.phase_context import build_context
from nnunet_mgcl.training.results_folder import (
    earlier_block,
    refuse_other_plans,
    require_results_folder,
    set_old_run_aside,
    write_shared_plans,
)
from nnunet_mgcl.training.run_inputs import check_run_inputs
from nnunet_mgcl.training.validation import write_validation_extras
from nnunet_mgcl.tss.phase import TSS


class MGCLTrainer(nnUNetTrainer):
    """Multi-grained contrastive pretraining, segmentation and TSS classification (Sun et al., 2024).

    The signature is nnU-Net's; it reads it by name.
    """

    pretraining: Sequence[Phase] = (
        Seed(),
        PseudoLabel(1, source="seed"),
        SelfTrain(),
        PseudoLabel(2, source="self_train"),
        Coarse(),
        Fine(),
    )

    @ending_with_one_message()
    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 (nnU-Net's default)
    ) -> None:
        require_device(device)
        self.dataset_layout = DatasetLayout.find(plans["dataset_name"])
        self.config = self._resolve(plans, configuration, dataset_json)
        self.continue_training = bool(plans["continue_training"])
        require_results_folder(type(self).__name__, plans, configuration, fold)
        super().__init__(plans, configuration, fold, dataset_json, device)
        segment = self.config.segment
        self.initial_lr, self.weight_decay, self.num_epochs = segment.lr, segment.weight_decay, segment.epochs
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = (
            segment.iterations,
            segment.val_iterations,
        )
        self.fold_layout = FoldLayout(Path(self.output_folder))
        self.memory = MemoryEstimate(self.plans_manager.plans, configuration, dataset_json, self.config)
        self.checkpoint_loaded = False
        self.context: PhaseContext | None = None

    def _resolve(self, plans: dict, configuration: str, dataset_json: dict) -> MGCLConfig:
        """Resolves the whole `mgcl` block and writes it into the plans, which is all that a predictor sees.

        A key that is newer than the folds of the results folder, and that the plan leaves open, is as it was for them.
        """
        plans.pop(KEY, None)  # another model's, where these plans were copied from its results folder
        earlier = earlier_block(type(self).__name__, plans, configuration)
        config = resolve_block(plans, configuration, dataset_json, tss_known(self.dataset_layout), earlier)
        plans["configurations"][configuration]["mgcl"] = config.model_dump(mode="json")
        return config

    # ------------------------------------------------------------------ nnU-Net's hooks: network, optimiser, loss

    @staticmethod
    @ending_with_one_message()
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Builds the network; nnU-Net's stock predictor calls this with the plans of a results folder."""
        return build_network(configuration_manager, num_output_channels, enable_deep_supervision)

    @ending_with_one_message()
    def initialize(self) -> None:
        """nnU-Net's set-up from a known random state."""
        if self.is_ddp:
            plan = self.configuration_manager
            require_equal_shares(plan.batch_size, plan.batch_dice, dist.get_world_size())
        preprocessed_cases(self.dataset_layout, self.plans_manager.plans, self.configuration_name)  # or a clear refusal
        reseed(self.config.random_seed, self.fold, "segment", "initialisation")
        super().initialize()
        self._initial_versions = self._parameter_versions()

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        """Adam with nnU-Net's polynomial schedule. The head's parameters are not among them."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        beta1 = self.config.segment.beta1
        optimizer = torch.optim.Adam(parameters, self.initial_lr, betas=(beta1, 0.999), weight_decay=self.weight_decay)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def _build_loss(self) -> nn.Module:
        """nnU-Net's loss; with one target a modality, Dice + BCE a branch under the same deep supervision."""
        loss = super()._build_loss()
        if self.config.lesion_labels:
            modality_loss = self._modality_loss()
            if not self.enable_deep_supervision:
                return modality_loss
            loss.loss = modality_loss
        return loss

    @property
    def supervised_loss(self) -> Any:
        """What `_build_loss` made of the labelled samples' loss."""
        return self.loss

    def _modality_loss(self) -> ModalityDiceBCELoss:
        membership = label_membership(self.config, self.label_manager.num_segmentation_heads)
        return ModalityDiceBCELoss(
            membership.to(self.device),
            branch_channels(membership),
            self.label_manager.ignore_label,
            self.configuration_manager.batch_dice,
            self.is_ddp,
        )

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Sets it in every branch."""
        self.mgcl_network.deep_supervision = enabled

    # ------------------------------------------------------------------ nnU-Net's hooks: life cycle

    def do_split(self) -> tuple[list[str], list[str]]:
        """nnU-Net's split; a fold beyond it is refused, since nnU-Net would draw one that knows no patients."""
        if self.fold != "all":
            fold_cases(read_json(self.dataset_layout.splits), self.fold)
        return super().do_split()

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
        refuse_other_plans(self)
        pretrained = self.was_initialized and not self.checkpoint_loaded and self._weights_were_set()
        if not self.was_initialized:
            self.initialize()
        prepared = self._prepare()
        if self.local_rank == 0:
            set_old_run_aside(self)
            remove_leftovers(self.fold_layout.root)
        if self.is_ddp:
            dist.barrier()
        check_run_inputs(self, pretrained)
        if self.local_rank == 0:
            write_shared_plans(self)
            note_versions(self.fold_layout.versions)
        self.context = build_context(self, prepared)
        self._log_decisions()
        if self.checkpoint_loaded:
            self.print_to_log_file("MGCL: segmentation goes on from a checkpoint; the phases before it are done")
            if self.current_epoch < self.num_epochs:
                forget_head(self.context)
        elif pretrained:
            self.print_to_log_file("MGCL: starts at segment, with the weights of -pretrained_weights")
            if (head := self.mgcl_network.tss) is not None:
                head.trained.fill_(False)  # theirs may be, but on the encoders that `segment` is about to change
        else:
            for phase in (*self.pretraining, Segment()):
                phase.run(self.context)
        super().on_train_start()

    def on_epoch_start(self) -> None:
        """Seeds the epoch."""
        reseed(self.config.random_seed, self.fold, "segment", self.current_epoch, self.local_rank)
        super().on_epoch_start()

    def on_epoch_end(self) -> None:
        """nnU-Net's end of an epoch; the loss also joins the picture of all phases."""
        super().on_epoch_end()
        if self.local_rank == 0 and self.context is not None:
            losses = [float(loss) for loss in self.logger.get_value("train_losses", step=None)]
            self.context.curves.update(
                "segment", "all branches", losses, finished=self.current_epoch == self.num_epochs
            )

    def train_step(self, batch: dict) -> dict:
        """nnU-Net's step; a NaN stops the training with the cases' names."""
        result = super().train_step(batch)
        if not np.isfinite(result["loss"]):
            raise UserError(
                f"phase segment, epoch {self.current_epoch + 1}",
                f"loss {result['loss']} on the cases {', '.join(dict.fromkeys(batch['keys']))}",
                "a finite loss",
                "check these images for extreme values, or lower the learning rate: "
                + plan_command(self.memory, {"segment.lr": f"{self.initial_lr / 10:g}"}, "lower_lr"),
            )
        return result

    def validation_step(self, batch: dict) -> dict:
        """nnU-Net's step; with one target a modality, its pseudo Dice counts modalities, not combinations."""
        if not self.config.lesion_labels:
            return super().validation_step(batch)
        return modality_validation_step(self, batch)

    def on_train_end(self) -> None:
        """Trains the TSS head before nnU-Net writes `checkpoint_final` and deletes `checkpoint_latest`."""
        self.current_epoch -= 1  # nnU-Net's own correction: the counter is one ahead here
        self.save_checkpoint(os.path.join(self.output_folder, "checkpoint_latest.pth"))
        self.current_epoch += 1
        assert self.context is not None
        TSS().run(self.context)
        super().on_train_end()

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's checkpoint, written aside and renamed."""
        if self.disable_checkpointing or self.local_rank != 0:
            super().save_checkpoint(filename)
            return
        with replacing(Path(filename)) as temporary:
            super().save_checkpoint(str(temporary))

    @ending_with_one_message()
    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """nnU-Net's loading, of weights and numbers only; remembers that there was something to go on from."""
        files = [Path(filename_or_checkpoint)] if isinstance(filename_or_checkpoint, str) else []
        try:
            with loading_safely(files):
                super().load_checkpoint(filename_or_checkpoint)
        except RuntimeError:  # another network than the checkpoint's
            refuse_other_plans(self)
            raise
        self.checkpoint_loaded = True

    @ending_with_one_message()
    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """nnU-Net's validation, then the TSS of the validation cases and the Dice of each modality."""
        with explaining_writes(folder=self.fold_layout.root):
            super().perform_actual_validation(save_probabilities)
            if self.local_rank == 0:
                write_validation_extras(self)
                warn_of_head(self)

    # ------------------------------------------------------------------ set-up of the phases

    pool_in_segment = False
    """Whether `segment` itself reads the pool, which then may not change before its end."""

    @property
    def uses_pool(self) -> bool:
        """Whether anything reads the unlabelled pool."""
        return bool(self.pretraining) or self.pool_in_segment

    @property
    def samples_per_step(self) -> int:
        """Samples that pass the network together in `segment`, on this rank."""
        return self.batch_size

    @property
    def mgcl_network(self) -> MGCLNetwork:
        """The network inside DDP and torch.compile."""
        return unwrap(self.network)  # type: ignore[return-value]

    def _parameter_versions(self) -> list[int]:
        return [p._version for p in self.mgcl_network.parameters()]

    def _weights_were_set(self) -> bool:
        """Whether somebody (nnU-Net's -pretrained_weights) wrote into the parameters since `initialize`."""
        return self._parameter_versions() != self._initial_versions

    def _log_decisions(self) -> None:
        """What the program decided for the user, in one line each."""
        assert self.context is not None
        branches = ", ".join(f"{name} (channels {own})" for name, own in (self.config.modalities or {}).items())
        self.log(f"branches: {branches}")
        if not self.config.tss.enabled:
            self.log("no TSS head: " + ("switched off in the plan" if self.context.table else "there is no tss.csv"))
        if warning := self.memory.warning(self.samples_per_step):
            self.log(warning)
        if self.continue_training and not self.checkpoint_loaded:
            self.log(f"--c goes on in the phases before segment: {self.context.state.described()}")

    def _prepare(self) -> Prepared:
        """Splits, TSS table and pool; the first rank does what is missing, the others then find it done."""
        if self.local_rank == 0:
            prepared = self._prepare_dataset()
        if self.is_ddp:
            dist.barrier()
        return prepared if self.local_rank == 0 else self._prepare_dataset()

    def _prepare_dataset(self) -> Prepared:
        return prepare_dataset(
            self.dataset_layout,
            self.plans_manager.plans,
            self.configuration_name,
            max(1, get_allowed_n_proc_DA()),
            self.print_to_log_file,
            fold=self.fold,
            uses_pool=self.uses_pool,
        )

    def log(self, message: str, to_console: bool = True) -> None:
        """Writes a line of this plugin to nnU-Net's log."""
        self.print_to_log_file(f"MGCL: {message}", also_print_to_console=to_console)
