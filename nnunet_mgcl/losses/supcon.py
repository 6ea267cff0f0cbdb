"""The supervised contrastive loss of both grains: Eq. 2-4 (slices) and Eq. 6-8 (patches)."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def supcon_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    ignore_index: int | None = None,
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Pulls embeddings of one label together and pushes the other labels away.

    Eq. 2-4 of Sun et al., Medical Image Analysis 97 (2024) 103250; Eq. 6-8 are the same with patches:

    $$L = \frac{1}{|A|} \sum_{i \in A} \frac{-1}{|P(i)|} \sum_{j \in P(i)}
          \log \frac{\exp(s_{ij} / \tau)}{\sum_{k \neq i} \exp(s_{ik} / \tau)}$$

    with $s_{ij}$ the cosine similarity and $P(i)$ the other samples of anchor $i$'s label. Our readings:

    - One minus sign. Eq. 3 and 4 (7 and 8) both print one; their product would maximise the loss.
    - The anchors $A$ have a positive *and* a negative. Without a positive, Eq. 4 divides by zero. Without a
      negative, which means a batch of one class, there is nothing to contrast.
    - No anchor: an exact zero that still has a gradient graph.
    - Eq. 8: the denominator runs over all other patches of the batch, across slices.

    In distributed training the embeddings of all ranks form one batch, and every rank returns its loss. A
    rank's graph holds only its own embeddings, so its gradient is one summand of the whole, and
    `DistributedDataParallel` averages the summands where they should be summed. Therefore the gradient (not
    the value) is multiplied by the number of ranks: the average equals the gradient of one process with the
    whole batch.

    Args:
        embeddings: `(N, D)`, any length: they are L2-normalised here. N may differ between ranks.
        labels: `(N,)` integers.
        temperature: tau.
        ignore_index: Samples of this label are neither anchors nor in any denominator.
        process_group: The ranks that share a batch; None: all of them, where there is more than one.

    Returns:
        A scalar, in float32 also under autocast (float64 stays float64).

    Raises:
        ValueError: The shapes do not fit or the temperature is not positive.
    """
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        found = f"{tuple(embeddings.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"expected embeddings (N, D) and labels (N,), found {found}")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, found {temperature}")

    if ignore_index is not None:
        kept = labels != ignore_index
        embeddings, labels = embeddings[kept], labels[kept]
    with torch.autocast(embeddings.device.type, enabled=False):
        dtype = torch.promote_types(embeddings.dtype, torch.float32)
        vectors = F.normalize(embeddings.to(dtype), dim=1)
        if not dist.is_initialized():
            return _dense_loss(vectors, labels, temperature)
        loss = _dense_loss(
            _gather(vectors, process_group, with_gradient=True), _gather(labels, process_group), temperature
        )
        return loss.detach() + dist.get_world_size(process_group) * (loss - loss.detach())


def _dense_loss(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The loss of unit vectors `(N, D)` with labels `(N,)`."""
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    same = labels[:, None] == labels
    positive = same & ~itself
    anchors = positive.any(dim=1) & ~same.all(dim=1)

    # Without anchors these are empty (0, N) matrices: their sum is zero and keeps the graph.
    positive = positive[anchors]
    similarity = (vectors[anchors] @ vectors.T / temperature).masked_fill(itself[anchors], -torch.inf)
    log_denominator = torch.logsumexp(similarity, dim=1)
    mean_positive = torch.where(positive, similarity, 0).sum(dim=1) / positive.sum(dim=1)
    return (log_denominator - mean_positive).sum() / max(len(positive), 1)


def _gather(rows: Tensor, group: dist.ProcessGroup | None, with_gradient: bool = False) -> Tensor:
    """Concatenates the rows `(N, ...)` of all ranks; only this rank's keep their graph.

    Collectives want equal shapes, so every rank pads to the longest.
    """
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(dist.get_world_size(group))]
    dist.all_gather(counts, count, group=group)
    lengths = [int(c) for c in counts]

    padded = rows.new_zeros(max(lengths), *rows.shape[1:])
    padded[: len(rows)] = rows.detach()
    gathered = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(gathered, padded, group=group)
    parts = [part[:length] for part, length in zip(gathered, lengths, strict=True)]
    if with_gradient:
        parts[dist.get_rank(group)] = rows
    return torch.cat(parts)
