"""Images of a single slice: they have areas, but no volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

NO_THICKNESS = "single slices without a thickness"
"""Why something in mm³ or ml does not exist."""


def is_single_slice(spacing: Sequence[float]) -> bool:
    """Whether nnU-Net's reader made up the slice distance: it gives flat images 999 times that of their pixels."""
    return spacing[0] > 900 * max(spacing[1:])


def volume_ml(mask: npt.NDArray[np.bool_], spacing: Sequence[float]) -> float | None:
    """Volume of a mask; None for a single slice."""
    return None if is_single_slice(spacing) else float(mask.sum() * math.prod(spacing) / 1000)
