"""One of two gloo ranks for test_trainer_ranks.py: `trainer_rank.py RANK FOLDER`.

nnU-Net's trainer takes for granted that ranks have GPUs; this plugin's takes the device that it is given.
"""

from __future__ import annotations

import hashlib
import json
import sys
from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from nnunetv2.run.run_training import maybe_load_checkpoint

from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

RANK, FOLDER = int(sys.argv[1]), Path(sys.argv[2])


class Killed(BaseException):
    """As if both processes had been killed."""


def build(content: dict, continue_training: bool) -> MGCLTrainer:
    content = deepcopy(content)
    plans = content["plans"] | {"continue_training": continue_training}
    trainer = MGCLTrainer(plans, "2d", 0, content["dataset_json"], torch.device("cpu"))
    trainer.save_every = 1
    return trainer


def refused_batch(content: dict) -> str:
    """What a batch that two ranks cannot share equally is answered with."""
    content = deepcopy(content)
    content["plans"]["configurations"]["2d"]["batch_size"] = 3
    try:
        build(content, False).initialize()
    except SystemExit as error:
        return str(error)
    return "accepted"


def start(content: dict, continue_training: bool, killed_after: int | None = None) -> MGCLTrainer:
    trainer = build(content, continue_training)
    maybe_load_checkpoint(trainer, continue_training, False)
    epoch_end = trainer.on_epoch_end

    def killed() -> None:
        epoch_end()
        if trainer.current_epoch == killed_after:
            raise Killed

    trainer.on_epoch_end = killed
    trainer.run_training()
    return trainer


def main() -> None:
    dist.init_process_group(
        "gloo", init_method=(FOLDER / "rendezvous").as_uri(), rank=RANK, world_size=2, timeout=timedelta(seconds=120)
    )
    content = json.loads((FOLDER / "content.json").read_text())
    refused = refused_batch(content)
    try:
        start(content, False, killed_after=1)
    except Killed:
        dist.barrier()
    trainer = start(content, True)
    trainer.perform_actual_validation()
    network = trainer.mgcl_network
    digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in network.parameters())).hexdigest()
    found = {"digest": digest, "batch": trainer.batch_size, "epoch": trainer.current_epoch, "refused": refused}
    (FOLDER / f"{RANK}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
