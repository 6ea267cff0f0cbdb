"""Which devices this machine has."""

from __future__ import annotations

import os

import torch

from nnunet_mgcl.system.errors import UserError


def require_device(device: torch.device) -> None:
    """Refuses a device that this machine lacks, before anything is loaded.

    Raises:
        UserError: There is no such device.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device.type, False):
        others = [name for name, there in available.items() if there]
        raise UserError(f"-device {device.type}", "not available here", f"one of {others}", f"add -device {others[-1]}")


def require_equal_shares(batch_size: int, batch_dice: bool, ranks: int) -> None:
    """Refuses a batch of which a GPU gets nothing, or unequal shares where nnU-Net's Dice gathers one tensor of each.

    Raises:
        UserError: The shares would differ; the GPUs would then wait for each other until nccl gives up.
    """
    if batch_size < ranks or (batch_dice and batch_size % ranks):
        fitting = max(1, batch_size // ranks) * ranks
        found = f"batch_size {batch_size}, of which the GPUs get unequal shares"
        expected = "equal shares, since the plan has batch_dice" if batch_dice else "a sample for each at least"
        remedy = f"mgcl plan --set configuration.batch_size={fitting}, or another number of GPUs"
        raise UserError(f"{ranks} GPUs (or processes)", found, expected, remedy)


def use_own_cores(device: torch.device) -> None:
    """Computes with no more threads than this process may use cores (`taskset`, Slurm, containers), or was told to use.

    nnU-Net takes one a core of the machine, also where OMP_NUM_THREADS says another number. Threads that share a core
    wait for each other: a step of a small U-Net with two threads on one core takes three times as long as with one.
    """
    if device.type == "cpu":
        told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # OpenMP's own form has a number for each level
        most = min(own_cores(), int(told)) if told.strip().isdecimal() else own_cores()
        torch.set_num_threads(max(1, min(torch.get_num_threads(), most)))


def own_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
