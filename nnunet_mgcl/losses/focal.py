"""The loss of the phase `tss`."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss


def tss_focal_loss(logits: Tensor, targets: Tensor, *, gamma: float, alpha: float | None) -> Tensor:
    """Focal loss (Lin et al., 2017), mean over cases, as in section 4.2.

    Args:
        logits: `(B,)`, before the sigmoid of Eq. 16.
        targets: `(B,)`, 1 where the time since stroke is below 4.5 h, else 0.
        gamma: Focusing parameter; 0 gives the cross-entropy.
        alpha: Weight of the positive class, 1 - alpha that of the negative; None: no class weighting.

    Returns:
        A scalar, in float32 also under autocast (float64 stays float64).
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    alpha = -1 if alpha is None else alpha
    with torch.autocast(logits.device.type, enabled=False):
        return sigmoid_focal_loss(logits.to(dtype), targets.to(dtype), alpha=alpha, gamma=gamma, reduction="mean")
