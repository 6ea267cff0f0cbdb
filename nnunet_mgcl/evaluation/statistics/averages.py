"""Mean and standard deviation, with a reason in words where there is none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


def mean_sd(values: Iterable[float | None], unit: str) -> dict[str, Any]:
    """`n`, `mean` and `sd` (with n - 1) of the defined values, and why one is missing (`reason`).

    Args:
        values: None where undefined: left out.
        unit: What the values belong to, for the reason: "case" or "fold".
    """
    defined = [value for value in values if value is not None]
    reason = {0: f"defined in no {unit}", 1: f"one {unit} only: no standard deviation"}.get(len(defined))
    return {
        "n": len(defined),
        "mean": float(np.mean(defined)) if defined else None,
        "sd": float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
        "reason": reason,
    }
