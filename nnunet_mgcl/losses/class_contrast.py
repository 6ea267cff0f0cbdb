"""Voxels against the mean embeddings of classes: the local loss of LCLPL (Chaitanya et al., MedIA 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def class_contrast_loss(embeddings: Tensor, labels: Tensor, anchors: int, temperature: float) -> Tensor:
    r"""Eq. 2 of LCLPL: sampled voxels resemble the mean of their own class more than the means of the others.

    $$L = \frac{1}{|A|} \sum_{a \in A} -\log \frac{\exp(s(z_a, m_{b,c}) / \tau)}
        {\exp(s(z_a, m_{b,c}) / \tau) + \sum_{b', c' \neq c} \exp(s(z_a, m_{b',c'}) / \tau)}$$

    for an anchor of class c in image b, and the means m of the classes that an image holds. The sum runs over all
    images of the batch (the paper's pairs), background is a class (with lesions as the only other one there were no
    negative), and A are `anchors` voxels of each class and image, drawn by torch's seed; a class that an image holds in
    fewer voxels gives its voxels several times.

    Args:
        embeddings: z `(B, D, N)` of N voxels an image.
        labels: `(B, N)` integers from 0; below 0: not annotated.
        anchors: Of each class and image.
        temperature: tau.

    Returns:
        A scalar; an exact zero with a graph where the whole batch holds a single class.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        full = embeddings if embeddings.dtype.itemsize > 4 else embeddings.float()
        members = F.one_hot(labels.clamp(min=-1) + 1)[..., 1:].to(full.dtype)  # (B, N, K)
        count = members.sum(1)  # (B, K)
        present = count > 0
        means = F.normalize(torch.einsum("bdn,bnk->bkd", full, members) / count.clamp(min=1)[..., None], dim=-1)
        classes = torch.arange(count.shape[1], device=full.device).expand_as(count)

        if not present.any():
            return embeddings.sum() * 0
        image, kind = present.nonzero(as_tuple=True)  # each class that an image holds gives anchors
        drawn = torch.multinomial(members[image, :, kind], anchors, replacement=True)  # (P, A)
        vectors = F.normalize(full.transpose(1, 2)[image[:, None], drawn], dim=-1)  # (P, A, D)
        similarity = torch.einsum("pad,bkd->pabk", vectors, means) / temperature
        positive = similarity[torch.arange(len(image), device=full.device), :, image, kind]  # (P, A)
        negative = (classes[None] != kind[:, None, None]) & present  # (P, B, K)
        others = similarity.masked_fill(~negative[:, None], -torch.inf).flatten(2)
        contrasted = negative.flatten(1).any(1)  # an anchor without a negative contrasts nothing
        losses = torch.cat([positive[..., None], others], dim=2).logsumexp(2) - positive
        return (losses * contrasted[:, None]).sum() / (contrasted.sum() * anchors).clamp(min=1)
