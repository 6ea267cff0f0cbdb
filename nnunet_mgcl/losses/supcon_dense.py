"""The supervised contrastive loss of a few samples: one N x N matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from nnunet_mgcl.losses.supcon_precision import full_precision
from nnunet_mgcl.losses.supcon_ranks import Batch


def dense_sum(batch: Batch, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Sums the losses of all anchors.

    Args:
        batch: The samples of all ranks.
        temperature: tau, however small.

    Returns:
        The sum, the number of anchors, and the sum's gradient `(n, D)` by this rank's unit vectors.
    """
    total, anchors, gradient = _dense(batch.vectors, batch.labels, batch.valid, temperature)
    return total, anchors, gradient[batch.own]


@torch.library.custom_op("nnunet_mgcl::supcon_dense", mutates_args=())
def _dense(vectors: Tensor, labels: Tensor, valid: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    with full_precision(vectors.device.type):
        same = (labels[:, None] == labels) & valid & valid[:, None]
        members = same.sum(dim=1, dtype=vectors.dtype)
        anchors = (members > 1) & (members < valid.sum())

        similarity = (vectors @ vectors.T).div_(temperature)
        # Row i: the weights 1 / |P(i)| of the anchor's positives. Rows of other samples are zero.
        targets = same * torch.where(anchors, 1 / (members - 1), 0)[:, None]
        targets.fill_diagonal_(0)
        numerators = (targets * similarity).sum(dim=1)

        similarity.masked_fill_(~valid, -torch.inf).fill_diagonal_(-torch.inf)
        denominators = similarity.logsumexp(dim=1)
        shares = torch.where(anchors[:, None], (similarity - denominators[:, None]).exp_(), 0)
        total = torch.where(anchors, denominators - numerators, 0).sum()
        pull = shares.sub_(targets)
        gradient = (pull + pull.T) @ vectors / temperature
        return total, anchors.sum(), gradient


@_dense.register_fake
def _(vectors: Tensor, labels: Tensor, valid: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    return vectors.new_empty(()), labels.new_empty((), dtype=torch.int64), torch.empty_like(vectors)
