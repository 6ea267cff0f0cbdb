"""Pretrains the label-free phases of a trainer on the pool, for all folds and without any of them (`mgcl pretrain`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from nnunetv2.paths import nnUNet_results
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.data.prepare import prepare_dataset, tss_known
from nnunet_mgcl.engine.branches import build_branches
from nnunet_mgcl.engine.context import RunContext
from nnunet_mgcl.plan.dataset_json import read_dataset_json
from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.pretraining.shared import FOLDER, train_stored
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.training.base_trainer import BaseTrainer, augmentation_of


def pretrain_on_pool(
    trainer: type[BaseTrainer], layout: DatasetLayout, plans: dict[str, Any], configuration: str, device: torch.device,
    processes: int, log: Callable[..., None],
) -> list[Path]:  # fmt: skip
    """Trains what the store lacks, and goes on with what it has in part.

    Args:
        trainer: The trainer whose phases these are.
        layout: The dataset's paths.
        plans: Content of the plans file.
        configuration: One of its configurations.
        device: Where to compute.
        processes: Worker processes to prepare the pool with.
        log: Takes one line for the user.

    Returns:
        The folders of the store.

    Raises:
        UserError: The trainer has no label-free phase, or there is no pool.
    """
    phases = _shared_phases(trainer)
    dataset_json = read_dataset_json(layout.dataset_json)
    prepared = prepare_dataset(layout, plans, configuration, processes, log)
    if not any(prepared.pool.values()):
        remedy = "add scans, or train: each fold then uses its own"
        raise UserError(layout.name, "no unlabelled case", "a pool, imagesUn", remedy)
    config = resolve_block(plans, configuration, dataset_json, tss_known(layout), blocks=trainer.method_blocks())
    setting_up = _without_fold(trainer, PlansManager(plans).get_configuration(configuration), device, log)
    run = RunContext(
        config=config,
        fold="pool",
        layout=FoldLayout(Path(nnUNet_results.require()) / layout.name / FOLDER),
        dataset_layout=layout,
        branches=build_branches(config, plans, configuration, dataset_json),
        configuration=setting_up.configuration_manager,
        memory=MemoryEstimate(plans, configuration, dataset_json, config),
        pool=prepared.pool,
        augmentation=augmentation_of(setting_up),
        compiles=setting_up._do_i_compile(),
        log=log,
        device=device,
    )
    return [
        train_stored(phase, run, branch, phases[:number]).layout.root
        for number, phase in enumerate(phases)
        for branch in run.branches
        if prepared.pool[branch.name]
    ]


def _without_fold(trainer: type[BaseTrainer], plan: Any, device: torch.device, log: Callable[..., None]) -> BaseTrainer:
    """A trainer that knows nnU-Net's augmentation; its __init__ would begin a fold."""
    setting_up = trainer.__new__(trainer)
    setting_up.configuration_manager, setting_up.device, setting_up.print_to_log_file = plan, device, log
    return setting_up


def _shared_phases(trainer: type[BaseTrainer]) -> Sequence[Pretext]:
    """The label-free phases before the first that sees a label."""
    shared = [*takewhile(lambda phase: phase.label_free, trainer.pretraining)]
    if not shared:
        raise UserError(
            f"-tr {trainer.__name__}", "no label-free phase: its phases see the fold's labels, so each fold runs them",
            "a trainer that begins with a label-free phase", "train its folds: nnUNetv2_train",
        )  # fmt: skip
    return shared
