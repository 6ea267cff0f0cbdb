"""nnU-Net's own way to several processes (`run_ddp`, by spawn), with gloo in place of nccl: `spawned_ranks.py FILE`.

FILE is where the processes meet.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint


def run(rank: int, file: Path, ranks: int) -> None:
    dist.init_process_group("gloo", init_method=file.as_uri(), rank=rank, world_size=ranks)
    trainer = get_trainer_from_args("901", "2d", 0, "MGCLTrainer", "nnUNetPlans", False, torch.device("cpu"))
    maybe_load_checkpoint(trainer, False, False)
    trainer.run_training()
    trainer.perform_actual_validation(False)
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(run, args=(Path(sys.argv[1]), 4), nprocs=4)
