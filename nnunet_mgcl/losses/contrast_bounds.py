"""Between which values the supervised contrastive loss of a batch lies, from its class counts alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log


def contrast_chance(counts: Sequence[int]) -> float:
    """The loss of embeddings that do not differ: ln(N - 1), whatever the classes and the temperature.

    Args:
        counts: Samples of each class; N is their sum.
    """
    return log(max(sum(counts) - 1, 1))


def contrast_floor(counts: Sequence[int], temperature: float) -> float:
    r"""The smallest loss that the class counts of a batch allow; `supcon_loss` has its anchors and its mean.

    An anchor with $p$ positives and $q$ negatives has, by Jensen's inequality,

    $$L_i \ge \log\left(p + \sum_{\text{negatives}} \exp((s_{ik} - \bar s_{i}) / \tau)\right)
          \ge \log(p + q \exp(-2 / \tau)),$$

    and two classes at opposite points reach that for all anchors at once: the floor is exact for two classes, and a
    lower bound for more.

    Args:
        counts: Samples of each class.
        temperature: tau.

    Returns:
        The mean over the anchors; 0, the loss itself, where there is none.
    """
    total = sum(counts)
    anchors = [own for own in counts if 1 < own < total]
    losses = [own * log(own - 1 + (total - own) * exp(-2 / temperature)) for own in anchors]
    return sum(losses) / max(sum(anchors), 1)
