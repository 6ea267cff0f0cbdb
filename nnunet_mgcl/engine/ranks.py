"""This process among the GPUs, and what processes tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def in_step(module: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Keeps a module the same in all processes; the GPU of one need not have the number of its rank."""
    return DistributedDataParallel(module, [device] if device.type == "cuda" else None)


@dataclass(kw_only=True)
class Ranks:
    """Attributes: device: where to compute; rank, world_size: this process among the GPUs."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_first_rank(self) -> bool:
        """Whether this process writes the shared files."""
        return self.rank == 0

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
