"""The batch that all ranks contrast together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass
class Batch:
    """The samples of all ranks, one rank after the other, each padded to the same length by samples to ignore.

    Attributes:
        vectors: `(N, D)` unit vectors without a graph; zero where not valid.
        labels: `(N,)` integers, or positions.
        valid: `(N,)` bool; whether a sample counts.
        own: Where this rank's samples are.
        ranks: How many ranks there are.
        length: Samples of a rank, with its padding.
        group: The ranks, where there are several.
    """

    vectors: Tensor
    labels: Tensor
    valid: Tensor
    own: slice
    ranks: int
    length: int
    group: dist.ProcessGroup | None

    def gather(self, rows: Tensor) -> Tensor:
        """Joins what each rank knows of its own samples `(n, ...)` to `(N, ...)`; the padding is zero."""
        return rows if self.ranks == 1 else _gather(rows, self.length, self.group)


def gather_batch(vectors: Tensor, labels: Tensor, valid: Tensor, group: dist.ProcessGroup | None) -> Batch:
    """Joins the samples of all ranks; without `torch.distributed` those of this process are all."""
    count, ranks = len(labels), dist.get_world_size(group) if dist.is_initialized() else 1
    if ranks == 1:
        return Batch(vectors, labels, valid, slice(0, count), 1, count, None)
    # Collectives want equal shapes, and shapes are numbers of the host: the only wait for a GPU in the loss.
    longest = torch.tensor(count, device=labels.device)
    dist.all_reduce(longest, dist.ReduceOp.MAX, group=group)
    length = int(longest)
    about = _gather(torch.stack([labels, valid.to(labels.dtype)], dim=1), length, group)
    start = dist.get_rank(group) * length
    own = slice(start, start + count)
    return Batch(_gather(vectors, length, group), about[:, 0], about[:, 1].bool(), own, ranks, length, group)


def _gather(rows: Tensor, length: int, group: dist.ProcessGroup | None) -> Tensor:
    padded = rows.new_zeros(length, *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, padded, group=group)
    return torch.cat(gathered)
