"""Batch normalisation whose batch is that of all ranks."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class BatchNorm(nn.Module):
    """Standardises each number over the samples of all ranks, without learned scale and shift.

    `torch.nn.SyncBatchNorm` does the same on CUDA only; the loss of the contrastive phases sees all ranks as one batch
    on any device, and so must what comes before it. There are no running statistics: outside of training the batch at
    hand is standardised as well (the projection heads, which use it, do not outlive their phase).

    Args:
        eps: Added to the variance.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Standardises `(N, C)`; N may differ between ranks. In float32 at least, also under autocast."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            count, total = _over_ranks(x.new_tensor([len(x)])), _over_ranks(x.sum(0))
            centred = x - total / count
            variance = _over_ranks(centred.square().sum(0)) / count
            return centred / (variance + self.eps).sqrt()


def _over_ranks(values: Tensor) -> Tensor:
    """The sum over all ranks; gradients reach every rank's own values."""
    return all_reduce(values) if dist.is_available() and dist.is_initialized() else values
