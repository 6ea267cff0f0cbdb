"""The loss of unlabelled samples against a teacher's probabilities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH = 1e-5
"""nnU-Net's, in its Dice."""


def consistency_loss(logits: Tensor, target: Tensor, exclusive: bool) -> Tensor:
    """Dice + cross-entropy as in the supervised phases, with probabilities as targets.

    Dice is of the whole batch, background left out where classes exclude each other. Soft targets weigh what the
    teacher is sure of by themselves, so that no confidence threshold has to be chosen.

    Args:
        logits: `(B, C, ...)` of the student.
        target: Probabilities of the same shape, of the teacher.
        exclusive: Whether the channels are classes that exclude each other (softmax), the first being background, or
            targets of their own (sigmoid).
    """
    logits, target = logits.float(), target.float()
    if exclusive:
        entropy = F.cross_entropy(logits, target)
        predicted, target = logits.softmax(1)[:, 1:], target[:, 1:]
    else:
        entropy = F.binary_cross_entropy_with_logits(logits, target)
        predicted = logits.sigmoid()
    axes = [0, *range(2, logits.ndim)]
    overlap, total = (predicted * target).sum(axes), (predicted + target).sum(axes)
    return entropy - ((2 * overlap + SMOOTH) / torch.clip(total + SMOOTH, 1e-8)).mean()
