"""Trains over several machines: `torchrun ... -m nnunet_mgcl.training.distributed 501 2d 0 -tr MGCLTrainer`.

nnU-Net's own command starts the processes of one machine, and takes the rank of a process for the number of its GPU.
Here torchrun starts them and, if told to, starts them again; LOCAL_RANK chooses the GPU. The rest is nnU-Net's.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint
from torch.backends import cudnn

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.prepare import load_plans
from nnunet_mgcl.system.devices import require_device
from nnunet_mgcl.system.errors import UserError, counted, ending_with_one_message
from nnunet_mgcl.system.files import is_there
from nnunet_mgcl.system.safe_loading import loading_safely
from nnunet_mgcl.training.base_trainer import BaseTrainer
from nnunet_mgcl.training.by_name import trainer_by_name

COMMAND = "torchrun --nnodes 2 --nproc_per_node 4 ... -m nnunet_mgcl.training.distributed"
_TOGETHER = (("c", "val"), ("c", "pretrained_weights"), ("disable_checkpointing", "val_best"))
"""Options of which nnU-Net takes one only."""


@dataclass(frozen=True)
class Launch:
    """What torchrun tells a process: its rank among all and on its machine, and how often all were started again."""

    rank: int
    local_rank: int
    here: int
    restarts: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Launch:
        """Reads it.

        Raises:
            UserError: torchrun has not started this process.
        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        if missing := [name for name in names if not environment.get(name)]:
            found = f"no {', '.join(missing)}: torchrun has not started this process"
            remedy = "for the GPUs of one machine, nnUNetv2_train ... -num_gpus"
            raise UserError("nnunet_mgcl.training.distributed", found, f"{COMMAND} 501 2d 0 ...", remedy)
        rank, local_rank, here = (int(environment[name]) for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"))
        return cls(rank, local_rank, here, int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)))

    def device(self, kind: str) -> torch.device:
        """The CPU, or the GPU that is this process's own.

        Raises:
            UserError: The machine has no such device.
        """
        require_device(torch.device(kind))
        if kind == "cpu":
            return torch.device("cpu")
        if self.local_rank >= (there := torch.cuda.device_count()):
            found = f"{self.here} processes for {counted(there, 'GPU')}"
            remedy = f"--nproc_per_node {there}, or another CUDA_VISIBLE_DEVICES"
            raise UserError(f"the machine {socket.gethostname()}", found, "one GPU for each process", remedy)
        return torch.device("cuda", self.local_rank)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Python's own prints the usage, once for each process."""
        raise UserError(
            "nnunet_mgcl.training.distributed", message, "the arguments of nnUNetv2_train", "see nnUNetv2_train -h"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, or goes on, as one of the processes that torchrun has started.

    Args:
        arguments: Those of `nnUNetv2_train`; None: this process's own.

    Raises:
        SystemExit: A mistake that the user can mend; one of the processes tells it.
    """
    with ending_with_one_message():
        launch = Launch.of(os.environ)
    store, rank, world_size = next(dist.rendezvous("env://"))
    # torchrun keeps the store when it starts all processes again, and gloo would read the addresses of the dead ones
    store = dist.PrefixStore(f"mgcl/{launch.restarts}", store)
    with _one_message(store), _speaking(rank == 0):
        args = _parse(arguments)
        device = launch.device(args.device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=world_size,
            device_id=device if device.type == "cuda" else None,
        )  # fmt: skip
        _train(args, device, launch.restarts)
        dist.destroy_process_group()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """nnU-Net's arguments; its own parser is inside its command.

    Raises:
        UserError: They make no sense here.
    """
    parser = _Parser(prog=COMMAND, description="nnUNetv2_train, over the processes that torchrun starts.")
    parser.add_argument("dataset_name_or_id", help="dataset name or number")
    parser.add_argument("configuration", help="configuration, e.g. 2d")
    parser.add_argument("fold", type=_fold, help="number of the fold, or all")
    parser.add_argument("-tr", default="MGCLTrainer", help="trainer (default: %(default)s)")
    parser.add_argument("-p", default="nnUNetPlans", help="plans name (default: %(default)s)")
    parser.add_argument("-pretrained_weights", help="a checkpoint to start segment with")
    parser.add_argument("-num_gpus", help="refused: torchrun's --nproc_per_node says it")
    parser.add_argument("--npz", action="store_true", help="save probabilities of the validation")
    parser.add_argument("--c", action="store_true", help="go on")
    parser.add_argument("--val", action="store_true", help="validate only")
    parser.add_argument("--val_best", action="store_true", help="validate checkpoint_best")
    parser.add_argument("--disable_checkpointing", action="store_true", help="write no checkpoint of segment")
    parser.add_argument("-device", default="cuda", choices=("cuda", "cpu"), help="default: %(default)s")
    args = parser.parse_args(arguments)
    if args.num_gpus is not None:
        found, remedy = "nnU-Net's own launcher", "--nproc_per_node instead of it"
        raise UserError(f"-num_gpus {args.num_gpus}", found, "one process for each GPU, by torchrun", remedy)
    for both in _TOGETHER:
        if all(getattr(args, name) for name in both):
            named = " and ".join(f"-{'' if name == 'pretrained_weights' else '-'}{name}" for name in both)
            raise UserError(named, "both", "one of them, as in nnUNetv2_train", "leave one out")
    return args


def _fold(text: str) -> int | str:
    return text if text == "all" else int(text)


def _train(args: argparse.Namespace, device: torch.device, restarts: int) -> None:
    """nnU-Net's `run_ddp`, on this device; after a restart it goes on."""
    trainer_by_name(args.tr)  # refuses nnU-Net's own, which would take the GPU of the rank's number
    layout = DatasetLayout.find(args.dataset_name_or_id)
    load_plans(layout, args.p)
    going_on = args.c or restarts > 0
    trainer = get_trainer_from_args(layout.name, args.configuration, args.fold, args.tr, args.p, going_on, device)
    final = trainer.fold_layout.root / "checkpoint_final.pth"
    if args.val and not is_there(final):
        raise UserError(final, "no such file", "a training that is finished", "go on with --c")
    trainer.disable_checkpointing = args.disable_checkpointing
    _load(trainer, args, going_on, device)
    _require_one_folder(trainer)
    if device.type == "cuda":  # as nnU-Net does
        cudnn.deterministic, cudnn.benchmark = False, True
    if not args.val:
        trainer.run_training()
    if args.val_best:
        trainer.load_checkpoint(str(trainer.fold_layout.root / "checkpoint_best.pth"))
    trainer.perform_actual_validation(args.npz)


def _load(trainer: BaseTrainer, args: argparse.Namespace, going_on: bool, device: torch.device) -> None:
    """Loads the checkpoint to go on from, or -pretrained_weights, which a restart needs as long as there is none."""
    weights = args.pretrained_weights
    if weights is None or (going_on and any(trainer.fold_layout.root.glob("checkpoint_*.pth"))):
        maybe_load_checkpoint(trainer, going_on, args.val)
        return
    _put_what_is_for(torch.device("cuda", dist.get_rank()), device)
    with loading_safely([Path(weights)]):
        maybe_load_checkpoint(trainer, False, args.val, weights)


@cache  # torch takes one such function
def _put_what_is_for(of_rank: torch.device, device: torch.device) -> None:
    """nnU-Net loads weights onto the GPU of the rank's number; torch asks here first what that is."""
    load = torch.serialization.default_restore_location

    def on_device(storage: Any, location: str) -> Any:
        return load(storage, str(device)) if location == str(of_rank) else None

    if device != of_rank:
        torch.serialization.register_package(0, lambda _: None, on_device)


def _require_one_folder(trainer: BaseTrainer) -> None:
    """Refuses machines that see another results folder than rank 0, or an older state of it.

    Raises:
        UserError: This process does.
    """
    root = trainer.fold_layout.root
    views: list[Any] = [None] * dist.get_world_size()
    own = (Path(trainer.log_file).name, trainer.checkpoint_loaded, trainer.current_epoch)
    dist.all_gather_object(views, own)
    log_file, *state = views[0]
    if not (root / log_file).is_file() or state != [*own[1:]]:
        expected = "a folder on a file system that all machines share"
        remedy = "let nnUNet_results name the same folder on all machines; then start all of them again"
        raise UserError(f"{root} on {socket.gethostname()}", "not what rank 0 sees", expected, remedy)


@contextmanager
def _speaking(first: bool) -> Iterator[None]:
    """Nothing but errors is printed by other processes than the first."""
    if first:
        yield
        return
    warnings.simplefilter("ignore")
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def _one_message(store: dist.Store) -> Iterator[None]:
    """Ends with the message of a mistake. Of the processes that make the same one, the first tells it.

    Raises:
        SystemExit: In place of a `UserError`.
    """
    try:
        yield
    except (UserError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.code, str):
            raise
        try:
            is_new = store.add(f"told: {error}", 1) == 1
        except RuntimeError:  # the machine that holds the store has ended
            is_new = True
        if is_new:  # here and now: torchrun ends all processes once one of them has ended
            print(error, file=sys.stderr, flush=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
