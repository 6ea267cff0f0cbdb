"""What the phases may know of a trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.distributed as dist

from nnunet_mgcl.data.prepare import Prepared
from nnunet_mgcl.engine.branches import build_branches
from nnunet_mgcl.engine.context import Augmentation, PhaseContext
from nnunet_mgcl.engine.state import PhaseState

if TYPE_CHECKING:
    from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


def build_context(trainer: MGCLTrainer, prepared: Prepared) -> PhaseContext:
    """Collects what the phases of an initialised trainer work with."""
    train_cases, _ = trainer.do_split()
    rotation, dummy_2d, initial_patch_size, mirror_axes = (
        trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    )
    return PhaseContext(
        config=trainer.config,
        fold=trainer.fold,
        fold_layout=trainer.fold_layout,
        dataset_layout=trainer.dataset_layout,
        branches=build_branches(
            trainer.config, trainer.plans_manager.plans, trainer.configuration_name, trainer.dataset_json
        ),
        configuration=trainer.configuration_manager,
        memory=trainer.memory,
        train_cases=list(train_cases),
        pool=prepared.pool,
        table=prepared.table,
        labelled_folder=trainer.preprocessed_dataset_folder,
        dataset_class=trainer.dataset_class,
        ignore_label=trainer.label_manager.ignore_label,
        augmentation=Augmentation(trainer.get_training_transforms, rotation, dummy_2d, initial_patch_size, mirror_axes),
        network=trainer.mgcl_network,
        device=trainer.device,
        compiles=trainer._do_i_compile(),
        log=trainer.log,
        state=PhaseState(trainer.fold_layout.state, writes=trainer.local_rank == 0),
        rank=trainer.local_rank,
        world_size=dist.get_world_size() if trainer.is_ddp else 1,
    )
