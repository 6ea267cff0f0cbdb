"""The supervised contrastive loss of a few samples: one N x N matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from nnunet_mgcl.losses.supcon_precision import full_precision
from nnunet_mgcl.losses.supcon_ranks import Batch


def dense_sum(batch: Batch, temperature: float, reach: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Sums the losses of all anchors.

    Args:
        batch: The samples of all ranks.
        temperature: tau, however small.
        reach: Labels nearer to each other than that are positives; None: equal ones.

    Returns:
        The sum, the number of anchors, and the sum's gradient `(n, D)` by this rank's unit vectors.
    """
    # Calling an operator costs as much as a tenth of what it does here; only the compiler needs one.
    dense = _dense_operator if torch.compiler.is_compiling() else _dense
    total, anchors, gradient = dense(batch.vectors, batch.labels, batch.valid, temperature, reach)
    return total, anchors, gradient[batch.own]


def _dense(
    vectors: Tensor, labels: Tensor, valid: Tensor, temperature: float, reach: float | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    with full_precision(vectors.device.type):
        near = labels[:, None] == labels if reach is None else (labels[:, None] - labels).abs() < reach
        same = (near & valid).to(vectors.dtype)
        counted = valid.to(vectors.dtype)
        members = same @ counted
        anchors = valid & (members > 1) & (members < counted.sum())
        # Row i: the weights 1 / |P(i)| of the anchor's positives. Rows of other samples are zero.
        targets = same.mul_((anchors / (members - 1).clamp_(min=1))[:, None]).fill_diagonal_(0)

        # Not -inf: its product with a weight of zero is no number.
        nothing = torch.finfo(vectors.dtype).min
        similarity = (vectors @ vectors.T).div_(temperature).masked_fill_(~valid, nothing).fill_diagonal_(nothing)
        logarithms = similarity.log_softmax(dim=1)
        total = 0 - torch.dot(targets.flatten(), logarithms.flatten())  # not -0 where there is no anchor
        pull = logarithms.exp_().mul_(anchors[:, None]).sub_(targets).div_(temperature)
        gradient = (pull + pull.T) @ vectors
        return total, anchors.sum(dtype=vectors.dtype), gradient


_dense_operator = torch.library.custom_op("nnunet_mgcl::supcon_dense", _dense, mutates_args=())


@_dense_operator.register_fake
def _(
    vectors: Tensor, labels: Tensor, valid: Tensor, temperature: float, reach: float | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    return vectors.new_empty(()), vectors.new_empty(()), torch.empty_like(vectors)
