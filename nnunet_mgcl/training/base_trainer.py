"""nnU-Net's trainer as the `mgcl` block of a plan sets it up: network, optimiser, loss, split and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.data.cases.labelled import preprocessed_cases
from nnunet_mgcl.data.fractions import labelled_share
from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.data.prepare import tss_known
from nnunet_mgcl.data.splits import fold_cases, read_splits
from nnunet_mgcl.data.tss_table import TSSTable, read_tss_table
from nnunet_mgcl.engine.context import Augmentation
from nnunet_mgcl.engine.ranks import in_step
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.losses import ModalityDiceBCELoss
from nnunet_mgcl.network.branch import unwrap
from nnunet_mgcl.network.fusion import branch_channels, label_membership
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.plan.build import build_network
from nnunet_mgcl.plan.config import BLOCKS, MGCLConfig
from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.pretraining.handover import require_readers
from nnunet_mgcl.pretraining.lookup import register_methods
from nnunet_mgcl.pretraining.protocol import InSegment, Pretext
from nnunet_mgcl.system.devices import require_device, require_equal_shares
from nnunet_mgcl.system.errors import ending_with_one_message
from nnunet_mgcl.system.files import is_there, read_json
from nnunet_mgcl.system.safe_loading import loading_safely
from nnunet_mgcl.training.results_folder import (
    described_plan,
    earlier_block,
    refuse_other_plans,
    require_results_folder,
)


class BaseTrainer(nnUNetTrainer):
    """What a resolved plan decides. The phases before and after nnU-Net's training loop are `MGCLTrainer`'s.

    The signature is nnU-Net's; it reads it by name.
    """

    is_ddp: bool
    network: Any
    pretraining: Sequence[Pretext] = ()
    """The phases before `segment`."""
    in_segment: InSegment | None = None
    """What acts inside `segment`; the pool, which it may read, then may not change before its end."""

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
        self.blocks = self.method_blocks()
        self.dataset_layout = DatasetLayout.find(plans["dataset_name"])
        if fold != "all" and is_there(self.dataset_layout.splits):  # before the fold gets a folder
            fold_cases(read_splits(self.dataset_layout), fold)
        self.config = self._resolve(plans, configuration, dataset_json)
        require_readers(self.pretraining, self.config, type(self).__name__)
        self.continue_training = bool(plans["continue_training"])
        require_results_folder(type(self).__name__, plans, configuration, fold)
        super().__init__(plans, configuration, fold, dataset_json, device)
        if self.is_ddp and device != torch.device("cuda"):  # nnU-Net has chosen the GPU of the rank's number
            self.device = device
            if device.type != "cuda":
                self.grad_scaler = None
        self.incomplete = Incomplete.of(dataset_json, self.config.modalities or {})
        segment = self.config.segment
        self.initial_lr, self.weight_decay, self.num_epochs = segment.lr, segment.weight_decay, segment.epochs
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = segment.iterations, segment.val_iterations
        self.fold_layout = FoldLayout(Path(self.output_folder))
        self.memory = MemoryEstimate(self.plans_manager.plans, configuration, dataset_json, self.config)
        self.checkpoint_loaded = False
        self.weights_loaded = False

    @classmethod
    def method_blocks(cls) -> list[str]:
        """The blocks of the methods that the trainer uses; a method without settings has none."""
        methods = (*cls.pretraining, *filter(None, [cls.in_segment]))
        return [method.block for method in methods if method.block in BLOCKS]

    def _resolve(self, plans: dict, configuration: str, dataset_json: dict) -> MGCLConfig:
        """Resolves the whole `mgcl` block and writes it into the plans, which is all that a predictor sees.

        A key that is newer than the folds of the results folder, and that the plan leaves open, is as it was for them.
        """
        register_methods()  # the plan may have blocks of other trainers' methods
        plans.pop(KEY, None)  # another model's, where these plans were copied from its results folder
        earlier = earlier_block(type(self).__name__, plans, configuration, self.blocks)
        has_tss = tss_known(self.dataset_layout)
        config = resolve_block(plans, configuration, dataset_json, has_tss, earlier, self.blocks)
        plans["configurations"][configuration]["mgcl"] = config.model_dump(mode="json")
        return config

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
        """nnU-Net's set-up from a known random state, on the device of this process, whichever its rank."""
        if in_ranks := self.is_ddp:
            plan = self.configuration_manager
            require_equal_shares(plan.batch_size, plan.batch_dice, dist.get_world_size())
        preprocessed_cases(self.dataset_layout, self.plans_manager.plans, self.configuration_name)  # or a clear refusal
        reseed(self.config.random_seed, self.fold, "segment", "initialisation")
        self.is_ddp = False  # nnU-Net would wrap the network for the GPU of the rank's number
        super().initialize()
        if in_ranks:
            self._join_ranks()
        self.mgcl_network.register_load_state_dict_post_hook(self._note_loaded_weights)

    def _join_ranks(self) -> None:
        """What nnU-Net's `initialize` does for ranks: their shares of the batch, one network, a loss over all."""
        self.is_ddp = True
        self._set_batch_size_and_oversample()
        if self.device.type == "cuda":  # the only device that it knows
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        self.network = in_step(self.network, self.device)
        self.loss = self._build_loss()

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        """Adam with nnU-Net's polynomial schedule. The head's parameters are not among them."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        beta1 = self.config.segment.beta1
        optimizer = torch.optim.Adam(parameters, self.initial_lr, betas=(beta1, 0.999), weight_decay=self.weight_decay)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def _build_loss(self) -> nn.Module:
        """nnU-Net's loss, or with one target per modality Dice + BCE a branch; and what a method makes of it."""
        self.supervised_loss: Any = super()._build_loss()
        if self.config.lesion_labels:
            labels = self.label_manager
            membership = label_membership(self.config.labels_by_branch, labels.num_segmentation_heads)
            given = branch_channels(membership), labels.ignore_label, self.configuration_manager.batch_dice, self.is_ddp
            modality_loss = ModalityDiceBCELoss(membership.to(self.device), *given)
            if self.enable_deep_supervision:
                self.supervised_loss.loss = modality_loss
            else:
                self.supervised_loss = modality_loss
        return self.in_segment.loss(self.supervised_loss) if self.in_segment else self.supervised_loss

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Sets it in every branch."""
        self.mgcl_network.deep_supervision = enabled

    def do_split(self) -> tuple[list[str], list[str]]:
        """nnU-Net's split, less the training cases that the plan leaves out."""
        training, validation = self.whole_split()
        if (fraction := self.config.labelled_fraction) == 1:
            return training, validation
        table = self.tss_table() if tss_known(self.dataset_layout) else None
        where = f"{self.dataset_layout.name}, fold {self.fold}"
        share = labelled_share(
            training, fraction, table, self.config.random_seed, where, both_classes=bool(self.config.tss.enabled)
        )
        return share, validation

    def whole_split(self) -> tuple[list[str], list[str]]:
        """nnU-Net's split.

        Raises:
            UserError: There is no such fold; nnU-Net would draw one that knows no patients.
        """
        if self.fold != "all":
            fold_cases(read_json(self.dataset_layout.splits), self.fold)
        training, validation = super().do_split()
        return training, validation

    def tss_table(self) -> TSSTable:
        """The known times since stroke."""
        cases = self.dataset_class.get_identifiers(self.preprocessed_dataset_folder)
        return read_tss_table(self.dataset_layout.tss, cases)

    @ending_with_one_message()
    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """nnU-Net's loading, of weights and numbers only; remembers that there was something to go on from."""
        files = [Path(filename_or_checkpoint)] if isinstance(filename_or_checkpoint, str) else []
        try:
            with loading_safely(files):
                super().load_checkpoint(filename_or_checkpoint)
        except RuntimeError:  # another network than the checkpoint's
            self._refuse_other_plans()
            raise
        self.checkpoint_loaded = True

    @property
    def uses_pool(self) -> bool:
        """Whether anything reads the unlabelled pool."""
        return bool(self.pretraining) or self.in_segment is not None

    @property
    def samples_per_step(self) -> int:
        """Samples that pass the network together in `segment`, on this rank."""
        return self.batch_size + (self.in_segment.extra_samples(self.config, self.batch_size) if self.in_segment else 0)

    @property
    def results_base(self) -> Path:
        """The results folder, which all folds share."""
        return Path(self.output_folder_base)

    @property
    def mgcl_network(self) -> MGCLNetwork:
        """The network inside DDP and torch.compile."""
        return unwrap(self.network)  # type: ignore[return-value]

    def _note_loaded_weights(self, *_: Any) -> None:
        """Called after somebody (nnU-Net's -pretrained_weights, or a checkpoint) has loaded the whole network."""
        self.weights_loaded = True

    def _described_plan(self) -> dict[str, Any]:
        """What all folds have in common of the plan."""
        return described_plan(self.plans_manager.plans, self.configuration_name, self.blocks)

    def _refuse_other_plans(self) -> None:
        refuse_other_plans(
            self.results_base, self._described_plan(), self.configuration_name, self.dataset_json, self.blocks, self.log
        )

    def log(self, message: str, to_console: bool = True) -> None:
        """Writes a line of this plugin to nnU-Net's log."""
        self.print_to_log_file(f"MGCL: {message}", also_print_to_console=to_console)


def augmentation_of(trainer: nnUNetTrainer) -> Augmentation:
    """nnU-Net's augmentation as a trainer sets it up."""
    rotation, dummy_2d, patch_size, mirror_axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    return Augmentation(trainer.get_training_transforms, rotation, dummy_2d, patch_size, mirror_axes)
