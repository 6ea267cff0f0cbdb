"""What a phase may know: a run's branches, device and folders; of a fold also its labelled cases and its network."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import nn

from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.data.cases.modality_dataset import CaseSource, JoinedCase, LabelledCase, PoolCase, labelled_sources
from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.data.tss_table import TSSTable
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.costs import Costs
from nnunet_mgcl.engine.curves import Curves
from nnunet_mgcl.engine.ranks import Ranks, in_step
from nnunet_mgcl.engine.state import PhaseState
from nnunet_mgcl.engine.training_warnings import TrainingWarnings
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.system.errors import UserError, some


@dataclass(frozen=True)
class Augmentation:
    """nnU-Net's augmentation for this configuration, as the trainer set it up."""

    transforms: Callable[..., Any]
    rotation: Any
    dummy_2d: bool
    initial_patch_size: np.ndarray
    mirror_axes: tuple[int, ...]


@dataclass(kw_only=True)
class RunContext(Ranks):
    """What a phase works with that needs no label. Phases share nothing else.

    Attributes:
        config: The resolved `mgcl` block.
        fold: Number of the fold, "all", or "pool" for what is trained once for all folds.
        layout: Where the phases leave their results.
        dataset_layout: Paths of the dataset.
        branches: One per modality.
        configuration: The plan's configuration with all channels.
        memory: What the phases need by nnU-Net's estimate.
        pool: Unlabelled cases of each modality.
        augmentation: nnU-Net's augmentation.
        compiles: Whether modules are compiled, by nnU-Net's own rule.
        log: Writes to nnU-Net's log; `to_console=False` keeps the line off the screen.
        joined: Labelled cases of each modality that have joined its pool, without their labels, by name.
        unlabelled: Cases of each modality without any label, where these are not the pool's.
        state: Which parts are done.
        curves: The learning curves.
        warnings: What went wrong without ending the training.
        costs: What the parts cost.
    """

    config: MGCLConfig
    fold: int | str
    layout: FoldLayout
    dataset_layout: DatasetLayout
    branches: list[Branch]
    configuration: ConfigurationManager
    memory: MemoryEstimate
    pool: dict[str, list[str]]
    augmentation: Augmentation
    compiles: bool
    log: Callable[..., None]
    joined: dict[str, dict[str, LabelledCase]] = field(default_factory=dict)
    unlabelled: dict[str, list[CaseSource]] = field(default_factory=dict)
    state: PhaseState = field(init=False)
    curves: Curves = field(init=False)
    warnings: TrainingWarnings = field(init=False)
    costs: Costs = field(init=False)

    def __post_init__(self) -> None:
        self.state = PhaseState(self.layout.state, writes=self.is_first_rank)
        self.curves, self.costs = Curves(self.layout.progress), Costs(self.layout.costs)
        self.warnings = TrainingWarnings(self.layout.warnings, self.log, writes=self.is_first_rank)

    @property
    def is_3d(self) -> bool:
        """Whether samples are volumes rather than slices."""
        return len(self.configuration.patch_size) == 3

    def unlabelled_cases(self, branch: Branch) -> list[CaseSource]:
        """Images of a branch without labels: its pool's, where it has one."""
        if branch.name in self.unlabelled:
            return self.unlabelled[branch.name]
        return [*self.pool_sources(branch, self.pool.get(branch.name, []), None)]

    def pool_sources(self, branch: Branch, cases: Sequence[str], pseudo_labels: Path | None) -> list[PoolCase]:
        """Some cases of a branch's pool; arguments as of `PoolCase`."""
        images = self.dataset_layout.unlabelled(branch.configuration.data_identifier, branch.name)
        joined, channels = self.joined.get(branch.name, {}), len(branch.channels)
        collects = gc.isenabled()
        gc.disable()  # or it would look through the growing list again and again: ten times the time
        try:
            return [
                JoinedCase(case, images, pseudo_labels, joined[case])
                if case in joined
                else PoolCase(case, images, pseudo_labels, channels=channels)
                for case in cases
            ]
        finally:
            if collects:
                gc.enable()

    def autocast(self) -> AbstractContextManager[Any]:
        """nnU-Net's rule: mixed precision on CUDA only."""
        return torch.autocast("cuda") if self.device.type == "cuda" else nullcontext()

    def wrap(self, module: nn.Module) -> nn.Module:
        """Compiles the module and wraps it in DDP, where nnU-Net would."""
        wrapped: nn.Module = torch.compile(module) if self.compiles else module  # type: ignore[assignment]
        return in_step(wrapped, self.device) if self.world_size > 1 else wrapped


@dataclass(kw_only=True)
class FoldContext(RunContext):
    """A run that belongs to a fold.

    Attributes:
        train_cases: Labelled training cases of the fold. No phase ever sees a validation case.
        incomplete: Which of them lack a modality; a branch reads `cases_of`.
        table: Known times since stroke; None where the dataset has no tss.csv.
        labelled_folder: nnU-Net's preprocessed labelled cases.
        dataset_class: nnU-Net's reader of that folder.
        ignore_label: nnU-Net's ignore label, if any.
        network: The whole network (`segment` starts from what the phases hand it, phase `tss` trains its head).
    """

    train_cases: list[str]
    incomplete: Incomplete
    table: TSSTable | None
    labelled_folder: str
    dataset_class: Any
    ignore_label: int | None
    network: MGCLNetwork

    def cases_of(self, branch: Branch) -> list[str]:
        """The training cases that have a branch's modality."""
        return self.incomplete.with_all(self.train_cases, [branch.name])

    def join_pool(self, cases: Sequence[str]) -> None:
        """Adds labelled cases that the fold does not train on to the pool of every modality, without their labels.

        Raises:
            UserError: A pool case has the name of one of them.
        """
        for branch in self.branches:
            own, joining = self.pool.get(branch.name, []), self.incomplete.with_all(cases, [branch.name])
            if both := sorted(set(own) & set(joining)):
                raise UserError(
                    f"left_out_joins_pool: the pool of {branch.name}", f"{some(both)}, as labelled cases are called",
                    "other names in the pool", "rename the files in imagesUn, or set left_out_joins_pool=false",
                )  # fmt: skip
            folder = Path(self.labelled_folder)
            joined = labelled_sources(folder, joining, branch.channels, branch.lesion_labels, self.ignore_label)
            self.joined[branch.name] = {source.case: source for source in joined}
            self.pool = self.pool | {branch.name: [*own, *joining]}

    def without_labels(self) -> RunContext:
        """The same run for a phase that may see no label; a branch without a pool has the training cases' images."""
        known = {part.name: getattr(self, part.name) for part in fields(RunContext) if part.init}
        known["unlabelled"] = {
            branch.name: labelled_sources(Path(self.labelled_folder), self.cases_of(branch), branch.channels, (), None)
            for branch in self.branches
            if not self.pool.get(branch.name)
        }
        run = RunContext(**known)
        run.state, run.curves, run.warnings = self.state, self.curves, self.warnings
        return run
