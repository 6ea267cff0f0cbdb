"""Two views agree, without negatives: BYOL (Grill et al., NeurIPS 2020) and SimSiam (Chen and He, CVPR 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def byol_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    r"""Eq. 2 of BYOL, symmetrised: the squared distance of unit vectors, of either view to the other's target.

    $$L = \frac{1}{B} \sum_b \sum_{v} \| \bar q_{v,b} - \bar z'_{1-v,b} \|^2
        = \frac{1}{B} \sum_b \sum_{v} 2 - 2 \cos(q_{v,b}, z'_{1-v,b})$$

    Args:
        predictions: q `(2, B, D)`, the predictor's outputs of both views.
        targets: z' `(2, B, D)` of the teacher; no gradient reaches them.
    """
    return (2 - 2 * _cosine_to_other_view(predictions, targets)).sum(0).mean()


def simsiam_loss(predictions: Tensor, embeddings: Tensor) -> Tensor:
    r"""Eq. 4 of SimSiam: half the sum of D(p_1, stopgrad(z_2)) and D(p_2, stopgrad(z_1)), with D = -cos (Eq. 1).

    Args:
        predictions: p `(2, B, D)`, the predictor's outputs of both views.
        embeddings: z `(2, B, D)`, the projector's; no gradient reaches them.
    """
    return -_cosine_to_other_view(predictions, embeddings).mean()


def _cosine_to_other_view(predictions: Tensor, targets: Tensor) -> Tensor:
    """`(2, B)`, in float32 at least."""
    return F.cosine_similarity(_full(predictions), _full(targets.detach().flip(0)), dim=-1)


def _full(values: Tensor) -> Tensor:
    return values if values.dtype.itemsize > 4 else values.float()
