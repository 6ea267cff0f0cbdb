"""What is black and what is white in a picture of a volume."""

from __future__ import annotations

import numpy as np


def tissue(values: np.ndarray) -> np.ndarray:
    """The voxels of `(Z, Y, X)` brighter than the mean, to which a few very bright ones add no more than others."""
    return values > np.minimum(values, np.percentile(values[:, ::2, ::2], 98)).mean()


def grey_window(values: np.ndarray) -> tuple[float, float]:
    """What is black and what is white: a few very bright voxels do not count, nor does the amount of air."""
    sparse = values[:, ::2, ::2]
    head = sparse[tissue(sparse)]
    low, high = float(np.percentile(sparse, 1)), float(np.percentile(head, 99)) if head.size else 0.0
    return low, max(high, low + 1e-6)
