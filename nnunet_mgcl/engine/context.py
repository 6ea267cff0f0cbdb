"""What a phase may know: the fold, its cases, the branches, the device and nnU-Net's services."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.data.tss_table import TSSTable
from nnunet_mgcl.engine.curves import Curves
from nnunet_mgcl.engine.state import PhaseState
from nnunet_mgcl.engine.training_warnings import TrainingWarnings
from nnunet_mgcl.network.branch import UNet, build_branch
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.memory import MemoryEstimate


@dataclass(frozen=True)
class Branch:
    """One modality: its channels, its targets and its view of the plan."""

    name: str
    channels: list[int]
    lesion_labels: list[int] | None
    plans: PlansManager
    configuration: ConfigurationManager
    dataset_json: dict[str, Any]

    @cached_property
    def label_manager(self) -> LabelManager:
        """The labels that this branch segments."""
        return self.plans.get_label_manager(self.dataset_json)

    def build_unet(self) -> UNet:
        """The branch's U-Net with its own segmentation layers, He-initialised, without deep supervision."""
        outputs = self.label_manager.num_segmentation_heads
        unet = build_branch(self.configuration, len(self.channels), outputs, deep_supervision=False)
        unet.decoder.seg_layers[:-1].requires_grad_(False)  # they are idle, and DDP does not tolerate unused parameters
        return unet


@dataclass(frozen=True)
class Augmentation:
    """nnU-Net's augmentation for this configuration, as the trainer set it up."""

    transforms: Callable[..., Any]
    rotation: Any
    dummy_2d: bool
    initial_patch_size: np.ndarray
    mirror_axes: tuple[int, ...]


@dataclass
class PhaseContext:
    """Everything a phase works with. Phases share nothing else.

    Attributes:
        config: The resolved `mgcl` block.
        fold: Number of the fold, or "all".
        fold_layout: Paths of the fold.
        dataset_layout: Paths of the dataset.
        branches: One a modality.
        configuration: The plan's configuration with all channels.
        memory: What the phases need by nnU-Net's estimate.
        train_cases: Labelled training cases of the fold. No phase ever sees a validation case.
        pool: Unlabelled cases of each modality.
        table: Known times since stroke; None where the dataset has no tss.csv.
        labelled_folder: nnU-Net's preprocessed labelled cases.
        dataset_class: nnU-Net's reader of that folder.
        ignore_label: nnU-Net's ignore label, if any.
        augmentation: nnU-Net's augmentation.
        network: The whole network (phase `segment` fills it, phase `tss` trains its head).
        device: Where to compute.
        compiles: Whether modules are compiled, by nnU-Net's own rule.
        log: Writes to nnU-Net's log; `to_console=False` keeps the line off the screen.
        state: Which parts are done.
        curves: The learning curves.
        warnings: What went wrong without ending the training.
        rank, world_size: This process among the GPUs.
    """

    config: MGCLConfig
    fold: int | str
    fold_layout: FoldLayout
    dataset_layout: DatasetLayout
    branches: list[Branch]
    configuration: ConfigurationManager
    memory: MemoryEstimate
    train_cases: list[str]
    pool: dict[str, list[str]]
    table: TSSTable | None
    labelled_folder: str
    dataset_class: Any
    ignore_label: int | None
    augmentation: Augmentation
    network: MGCLNetwork
    device: torch.device
    compiles: bool
    log: Callable[..., None]
    state: PhaseState
    curves: Curves = field(init=False)
    warnings: TrainingWarnings = field(init=False)
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        self.curves = Curves(self.fold_layout.progress)
        self.warnings = TrainingWarnings(self.fold_layout.warnings, self.log, writes=self.rank == 0)

    @property
    def is_first_rank(self) -> bool:
        """Whether this process writes the shared files."""
        return self.rank == 0

    @property
    def is_3d(self) -> bool:
        """Whether samples are volumes rather than slices."""
        return len(self.configuration.patch_size) == 3

    def autocast(self) -> AbstractContextManager[Any]:
        """nnU-Net's rule: mixed precision on CUDA only."""
        return torch.autocast("cuda") if self.device.type == "cuda" else nullcontext()

    def wrap(self, module: nn.Module) -> nn.Module:
        """Compiles the module and wraps it in DDP, where nnU-Net would."""
        wrapped: nn.Module = torch.compile(module) if self.compiles else module  # type: ignore[assignment]
        if self.world_size > 1:
            wrapped = DistributedDataParallel(wrapped, [self.rank] if self.device.type == "cuda" else None)
        return wrapped

    def mean_over_ranks(self, value: float) -> float:
        """The mean of a number over all processes."""
        if self.world_size == 1:
            return value
        total = torch.tensor(value, device=self.device)
        dist.all_reduce(total)
        return float(total) / self.world_size

    def sum_over_ranks(self, counts: torch.Tensor) -> list[int]:
        """Whole numbers `(n,)`, each summed over all processes."""
        if self.world_size > 1:
            dist.all_reduce(counts)
        return [int(count) for count in counts.tolist()]

    def any_over_ranks(self, flags: torch.Tensor) -> bool:
        """Whether any flag is set in any process."""
        any_here = flags.any().float()
        if self.world_size > 1:
            dist.all_reduce(any_here, op=dist.ReduceOp.MAX)
        return bool(any_here)

    def from_first_rank(self, value: int) -> int:
        """The first process's number, in all processes."""
        shared = torch.tensor(value, device=self.device)
        if self.world_size > 1:
            dist.broadcast(shared, 0)
        return int(shared)

    def from_all_ranks(self, text: str) -> list[str]:
        """The texts of all processes."""
        texts: list[Any] = [text]
        if self.world_size > 1:
            texts = [None] * self.world_size
            dist.all_gather_object(texts, text)
        return texts

    def wait_for_all(self) -> None:
        """Lets all processes reach this point before any goes on."""
        if self.world_size > 1:
            dist.barrier()
