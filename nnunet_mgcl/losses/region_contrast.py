"""Regions of one image in two copies: the local loss of GCL (Chaitanya et al., NeurIPS 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def region_loss(embeddings: Tensor, temperature: float) -> Tensor:
    r"""Eq. 3 and 4 of GCL: a region resembles itself in the other copy more than it does all other regions.

    $$L = \frac{1}{2BR} \sum_{b,v,r} -\log
        \frac{\exp(s(f_{bvr}, f_{b\bar vr}) / \tau)}{\sum_{(w,q) \neq (v,r)} \exp(s(f_{bvr}, f_{bwq}) / \tau)}$$

    with the cosine similarity s. Only regions of the same image b are compared.

    Args:
        embeddings: f `(2, B, R, D)`, of R regions of B images in two copies.
        temperature: tau.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        full = embeddings if embeddings.dtype.itemsize > 4 else embeddings.float()
        vectors = F.normalize(full, dim=-1).transpose(0, 1).flatten(1, 2)  # (B, 2R, D), copy after copy
        similarity = vectors @ vectors.transpose(1, 2) / temperature
        itself = torch.eye(similarity.shape[1], dtype=torch.bool, device=similarity.device)
        other_copy = torch.arange(len(itself), device=similarity.device).roll(len(itself) // 2)
        logarithms = similarity.masked_fill(itself, -torch.inf).log_softmax(dim=2)
        return -logarithms[:, torch.arange(len(itself), device=similarity.device), other_copy].mean()
