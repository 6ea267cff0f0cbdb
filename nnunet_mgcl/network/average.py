"""A network whose weights are an average of another's."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def move_towards(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Moves weights and buffers of a teacher towards those of a student of the same architecture.

    Args:
        teacher: It keeps a share `momentum` of itself; whole numbers are copied.
        student: What it follows.
        momentum: The share.
    """
    # Not the state dict: dynamic-network-architectures names most tensors twice, and they would move twice.
    own_tensors, their_tensors = ([*net.parameters(), *net.buffers()] for net in (teacher, student))
    for own, theirs in zip(own_tensors, their_tensors, strict=True):
        if own.is_floating_point():
            own.lerp_(theirs, 1 - momentum)
        else:
            own.copy_(theirs)
