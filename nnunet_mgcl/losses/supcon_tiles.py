"""The supervised contrastive loss of many samples: exact, in memory that grows linearly with their number.

The N x N matrix of similarities is computed a tile at a time, twice: once for the denominators, once for the gradient.
With E_ij = exp(s_ij / tau), r_i = sum over k != i of E_ik, w_i = 1 / r_i and a_i = 1 / |P(i)| (both zero where i is no
anchor), the gradient of the sum of all losses by the unit vectors Z is one product:

    G = 1/tau C Z,   C_ij = E_ij (w_i + w_j) - [y_i = y_j] (a_i + a_j),   C_ii = 0

- C is symmetric: of two samples of this rank only one half of the tiles is computed, and used in both directions.
- The positives are part of the tile. Taken apart, as a product with sums over classes, they cancel against the rest:
  near convergence that loses two digits of the gradient in float32.
- Samples of one class have the same a_i, so a_i + a_j = 2 a_i. They need no order: comparing the labels in a tile costs
  a hundredth of its products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from nnunet_mgcl.losses.supcon_precision import full_precision
from nnunet_mgcl.losses.supcon_ranks import Batch

CPU_TILE = 384
"""Side of a tile that fits, with a second one, in 1 MiB of cache."""
GPU_TILE = 4096
"""Side of a tile that occupies a GPU; two of them take 128 MiB. Not measured on one."""
LOWEST_TEMPERATURE_OF_FLOAT32 = 1 / 50
"""exp(1 / tau) and exp(-1 / tau) are numbers of float32, with room for sums and scaling. Below: float64."""
LOWEST_TEMPERATURE = 1 / 600
"""The same for float64."""


def tiled_sum(batch: Batch, temperature: float, tile: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Sums the losses of all anchors.

    Args:
        batch: The samples of all ranks.
        temperature: tau, at least `LOWEST_TEMPERATURE`.
        tile: Side of a tile; None: chosen for the device.

    Returns:
        The sum, the number of anchors, and the sum's gradient `(n, D)` by this rank's unit vectors.
    """
    dtype, start, stop = batch.vectors.dtype, batch.own.start, batch.own.stop
    tile = tile or (CPU_TILE if batch.vectors.device.type == "cpu" else GPU_TILE)
    # Scaled so that exp(s_ij / tau) = exp2(z_i . z_j): exp2 is the cheaper one.
    scale = math.sqrt(1 / (temperature * math.log(2)))
    vectors = batch.vectors * scale if temperature >= LOWEST_TEMPERATURE_OF_FLOAT32 else batch.vectors.double() * scale
    valid = batch.valid.to(vectors.dtype)

    classes = _class_numbers(batch.labels)
    members = torch.zeros_like(valid).index_add_(0, classes, valid)[classes]
    anchors = batch.valid & (members > 1) & (members < valid.sum())
    positives = (members - 1).clamp(min=1)

    sums = batch.gather(_row_sums_operator(vectors, valid, start, stop, tile))
    numerators = _similarity_to_positives(vectors, classes) * math.log(2) / positives
    total = torch.where(anchors, sums.log() - numerators, 0).sum()

    push, pull = torch.where(anchors, 1 / sums, 0), anchors / positives
    gradient = _gradient_operator(vectors, classes.to(vectors.dtype), push, pull, start, stop, tile)
    return total.to(dtype), anchors.sum(dtype=dtype), gradient.div_(temperature * scale).to(dtype)


def _similarity_to_positives(vectors: Tensor, classes: Tensor) -> Tensor:
    """Sums z_i . z_j over the other samples j of i's class. It needs no pairs: it is z_i . (sum of the class - z_i)."""
    others = torch.zeros_like(vectors).index_add_(0, classes, vectors)[classes].sub_(vectors)
    return others.mul_(vectors).sum(dim=1)


def _class_numbers(labels: Tensor) -> Tensor:
    """Numbers the labels from 0, in order; `torch.unique` would wait for a GPU."""
    ordered, order = labels.sort()
    numbers = torch.zeros_like(labels, dtype=torch.int64)
    numbers[1:] = (ordered[1:] != ordered[:-1]).cumsum(dim=0)
    return torch.empty_like(numbers).scatter_(0, order, numbers)


def _row_sums(vectors: Tensor, valid: Tensor, start: int, stop: int, tile: int) -> Tensor:
    """Sums E_ik over all valid k != i, for the rows from start to stop."""
    sums = torch.zeros_like(valid)
    buffer = vectors.new_empty(min(tile, len(vectors)) ** 2)
    with full_precision(vectors.device.type):
        for rows, columns, mirrored in _tiles(len(vectors), start, stop, tile):
            exponentials = _exponentials(vectors[rows], vectors[columns], buffer)
            exponentials.mul_(valid[rows, None]).mul_(valid[columns])
            if rows == columns:
                exponentials.diagonal().zero_()
            # Not a matrix-vector product: it adds one by one, and near convergence that tripled the gradient's error.
            sums[rows] += exponentials.sum(dim=1)
            if mirrored:
                sums[columns] += exponentials.sum(dim=0)
    return sums[start:stop].clone()


# To `torch.compile` the loop over the tiles is one step.
_row_sums_operator = torch.library.custom_op("nnunet_mgcl::supcon_row_sums", _row_sums, mutates_args=())


@_row_sums_operator.register_fake
def _(vectors: Tensor, valid: Tensor, start: int, stop: int, tile: int) -> Tensor:
    return valid.new_empty(stop - start)


def _gradient(vectors: Tensor, classes: Tensor, push: Tensor, pull: Tensor, start: int, stop: int, tile: int) -> Tensor:
    """Multiplies C with the vectors, for the rows from start to stop."""
    gradient = torch.zeros_like(vectors[start:stop])
    first, second = vectors.new_empty(2, min(tile, len(vectors)) ** 2)
    with full_precision(vectors.device.type):
        for rows, columns, mirrored in _tiles(len(vectors), start, stop, tile):
            left, right = vectors[rows], vectors[columns]
            weights = _exponentials(left, right, first)
            other = second[: weights.numel()].view_as(weights)
            weights.mul_(torch.add(push[rows, None], push[columns], out=other))
            weights.addcmul_(torch.eq(classes[rows, None], classes[columns], out=other), pull[rows, None], value=-2)
            if rows == columns:
                weights.diagonal().zero_()
            gradient[rows.start - start : rows.stop - start].addmm_(weights, right)
            if mirrored:
                gradient[columns.start - start : columns.stop - start].addmm_(weights.T, left)
    return gradient


_gradient_operator = torch.library.custom_op("nnunet_mgcl::supcon_gradient", _gradient, mutates_args=())


@_gradient_operator.register_fake
def _(vectors: Tensor, classes: Tensor, push: Tensor, pull: Tensor, start: int, stop: int, tile: int) -> Tensor:
    return vectors.new_empty(stop - start, vectors.shape[1])


def _tiles(total: int, start: int, stop: int, tile: int) -> Iterator[tuple[slice, slice, bool]]:
    """Yields rows and columns of the tiles in the rows from start to stop, and whether their mirror image is left out.

    It is where both are of this rank: the tile stands for both.
    """
    for rows in _slices(start, stop, tile):
        for columns in _slices(rows.start, stop, tile):
            yield rows, columns, columns.start > rows.start
        for columns in (*_slices(0, start, tile), *_slices(stop, total, tile)):
            yield rows, columns, False


def _slices(start: int, stop: int, length: int) -> list[slice]:
    return [slice(left, min(left + length, stop)) for left in range(start, stop, length)]


def _exponentials(left: Tensor, right: Tensor, buffer: Tensor) -> Tensor:
    """Computes E for the pairs of two sets of vectors, in the buffer."""
    pairs = buffer[: len(left) * len(right)].view(len(left), len(right))
    return torch.mm(left, right.T, out=pairs).exp2_()
