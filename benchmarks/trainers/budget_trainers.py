"""Stock nnU-Net with a stated number of iterations and a seed, for benchmarks. Found through nnUNet_extTrainer."""

from __future__ import annotations

import os
import random

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class nnUNetTrainerBudget(nnUNetTrainer):
    """`nnUNetTrainer` for BUDGET_ITERATIONS iterations in epochs of 50, seeded with BUDGET_SEED; nothing else."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 50, 2
        self.num_epochs = int(os.environ["BUDGET_ITERATIONS"]) // self.num_iterations_per_epoch
        seed = int(os.environ["BUDGET_SEED"])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


class nnUNetTrainerBudgetTotal(nnUNetTrainerBudget):
    """The same under another name, so that two budgets have results folders of their own."""
