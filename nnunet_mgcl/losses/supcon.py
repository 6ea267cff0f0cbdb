r"""The supervised contrastive loss of both grains: Eq. 2-4 (slices) and Eq. 6-8 (patches).

Our readings:

- One minus sign: Eq. 3 and 4 (7 and 8) both print one, and their product would maximise the loss.
- The anchors $A$ have a positive (else Eq. 4 divides by zero) *and* a negative (else nothing is contrasted).
  No anchor: an exact zero that still has a gradient graph.
- Eq. 8: the denominator runs over all other patches of the batch, across slices.
- An embedding of length zero has the similarity 0 to all others, and no gradient.

The loss is exact, no pair is left out. N samples cost $2 N^2 D$ multiply-adds, gradient included (it is computed
here, and `backward` only hands it on), and $O(N D)$ memory: the N x N matrix exists a tile at a time
(`supcon_tiles`). Few samples are one small matrix (`supcon_dense`), and so are those at temperatures below 1/600,
whatever their number. Nothing waits for a GPU but the exchange of the ranks' numbers of samples.

In distributed training the embeddings of all ranks form one batch, and every rank returns its loss. A
rank's graph holds only its own embeddings, so its gradient is one summand of the whole, and
`DistributedDataParallel` averages the summands where they should be summed. Therefore the gradient (not
the value) is multiplied by the number of ranks: the average equals the gradient of one process with the
whole batch. All communication happens here and none in `backward`.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from nnunet_mgcl.losses.supcon_dense import dense_sum
from nnunet_mgcl.losses.supcon_ranks import Batch, gather_batch
from nnunet_mgcl.losses.supcon_tiles import LOWEST_TEMPERATURE, tiled_sum

FEWEST_FOR_TILES = 256
"""Below this number of samples one small matrix is faster than tiles."""


def supcon_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    ignore_index: int | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    process_group: dist.ProcessGroup | None = None,
    tile: int | None = None,
    reach: float | None = None,
) -> Tensor:
    r"""Pulls embeddings of one label together and pushes the other labels away.

    Eq. 2-4 of Sun et al., Medical Image Analysis 97 (2024) 103250; Eq. 6-8 are the same with patches:

    $$L = \frac{1}{|A|} \sum_{i \in A} \frac{-1}{|P(i)|} \sum_{j \in P(i)}
          \log \frac{\exp(s_{ij} / \tau)}{\sum_{k \neq i} \exp(s_{ik} / \tau)}$$

    with $s_{ij}$ the cosine similarity and $P(i)$ the other samples of anchor $i$'s label; our readings stand above.

    Args:
        embeddings: `(N, D)`, any length: they are L2-normalised here. N may differ between ranks.
        labels: `(N,)` integers; with `reach` any numbers.
        temperature: tau.
        ignore_index: Samples of this label are neither anchors nor in any denominator.
        reduction: "mean" over the anchors A of all ranks, or their "sum". Samples that are no anchors, such as those
            without a positive, count in neither; they are negatives of the anchors all the same.
        process_group: The ranks that share a batch; None: all of them, where there is more than one.
        tile: Side of a tile; None: chosen for the device. With a number the loss is tiled however few the samples.
        reach: With a number the labels are positions, and P(i) are the samples nearer than that to the anchor (PCL,
            Eq. 1). Dense: its batches are of slices, and 1,000 slices are a matrix of 4 MB.

    Returns:
        A scalar, in float32 also under autocast (float64 stays float64), to be differentiated once.

    Raises:
        ValueError: The shapes do not fit, the temperature is not positive or the reduction unknown.
    """
    _check(embeddings, labels, temperature, reduction)
    with torch.autocast(embeddings.device.type, enabled=False):
        valid = torch.ones_like(labels, dtype=torch.bool) if ignore_index is None else labels != ignore_index
        vectors, lengths = _normalise(embeddings.detach(), valid)
        batch = gather_batch(vectors, labels, valid, process_group)
        total, anchors, gradient = _sum(batch, temperature, tile, reach)
        divisor = anchors.clamp(min=1) if reduction == "mean" else torch.ones_like(anchors)
        gradient = _through_normalisation(gradient, vectors, lengths * divisor / batch.ranks, valid)
    return _WithGradient.apply(embeddings, total / divisor, gradient)


def _sum(batch: Batch, temperature: float, tile: int | None, reach: float | None) -> tuple[Tensor, Tensor, Tensor]:
    few = tile is None and len(batch.labels) < FEWEST_FOR_TILES
    if few or reach is not None or temperature < LOWEST_TEMPERATURE:
        return dense_sum(batch, temperature, reach)
    return tiled_sum(batch, temperature, tile)


def _normalise(embeddings: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Divides by the lengths `(N, 1)`, in float32 at least.

    Ignored samples become zero vectors that no sum counts: selecting the others would wait for a GPU. What is too short
    to have a direction becomes a zero vector with the length infinity, so that its gradient is zero too.
    """
    shortest = max(1e-12, torch.finfo(embeddings.dtype).tiny)
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    ignored = ~valid[:, None]
    lengths = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
    lengths = lengths.masked_fill_(lengths < shortest, torch.inf).masked_fill_(ignored, 1)
    return (embeddings / lengths).masked_fill_(ignored, 0), lengths


def _through_normalisation(gradient: Tensor, vectors: Tensor, lengths: Tensor, valid: Tensor) -> Tensor:
    """Takes a gradient by unit vectors to one by vectors of the given lengths; zero where not valid."""
    along = (gradient * vectors).sum(dim=1, keepdim=True)
    across = torch.addcmul(gradient, along, vectors, value=-1)  # what lengthens a vector does not turn it
    return across.mul_(valid[:, None] / lengths)


def _check(embeddings: Tensor, labels: Tensor, temperature: float, reduction: str) -> None:
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        found = f"{tuple(embeddings.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"expected embeddings (N, D) and labels (N,), found {found}")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, found {temperature}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f'reduction must be "mean" or "sum", found {reduction!r}')


class _WithGradient(torch.autograd.Function):
    """A value that is differentiable by the vectors, with a gradient that is already known.

    The gradient costs the same in `forward` as in `backward`, where autocast, TF32 and other ranks are out of reach.
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.dtype = vectors.dtype
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (upstream * gradient).to(ctx.dtype), None, None
