"""Activation checkpointing of one branch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


def recomputed(branch: nn.Module, x: Tensor) -> Any:
    """What `branch(x)` returns; the backward pass computes the activations again instead of finding them in memory.

    Outputs, gradients, random numbers (dropout) and running statistics are those of the plain call.
    """
    tracking = [m for m in branch.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    if not tracking:  # nnU-Net's instance norm; torch.compile takes no `context_fn` for granted
        return checkpoint(branch, x, use_reentrant=False)
    return checkpoint(branch, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _unmoved(tracking)))


@contextmanager
def _unmoved(norms: Sequence[_NormBase]) -> Iterator[None]:
    """The second pass may not move running statistics a second time."""
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, count in before:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count
