"""The paper's metrics (section 4.3, Eq. 17-20)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score


def dice(prediction: ArrayLike, reference: ArrayLike) -> float | None:
    """Dice similarity coefficient of two masks, Eq. 17: 2 |P and G| / (|P| + |G|).

    Args:
        prediction: Mask of any shape; what is not zero is lesion.
        reference: Mask of the same shape.

    Returns:
        0 to 1; None where both masks are empty (NaN in nnU-Net's summary.json): leave it out of means.

    Raises:
        ValueError: The shapes differ.
    """
    p, g = np.asarray(prediction) != 0, np.asarray(reference) != 0
    if p.shape != g.shape:
        raise ValueError(f"masks of one shape expected, found {p.shape} and {g.shape}")
    size = int(p.sum()) + int(g.sum())
    return 2 * int((p & g).sum()) / size if size else None


def classification_metrics(probabilities: ArrayLike, targets: ArrayLike) -> dict[str, int | float | str | None]:
    """Accuracy, sensitivity and specificity (Eq. 18-20), and the area under the ROC curve.

    Args:
        probabilities: `(N,)` of the positive class (TSS < 4.5 h), which a case is called from 0.5 on.
        targets: `(N,)`, 1 for the positive class, else 0.

    Returns:
        `cases`, `TP`, `TN`, `FP`, `FN`, `ACC`, `SEN`, `SPE`, `AUROC` and `auroc_reason`. What is not defined
        is None (SEN without positive cases, SPE without negative ones, AUROC without either of them); then
        `auroc_reason` says why, and else is None itself.
    """
    p, y = np.asarray(probabilities, dtype=float), np.asarray(targets) == 1
    reason = missing_class(y)
    area = None if reason else auroc(p, y)
    return {"cases": len(y), **rates(p >= 0.5, y), "AUROC": area, "auroc_reason": reason}


def auroc(probabilities: npt.NDArray[np.floating[Any]], actual: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve of `(N,)` cases of both classes, by scikit-learn: ties count half."""
    return float(roc_auc_score(actual, probabilities))


def rates(positive: npt.NDArray[np.bool_], actual: npt.NDArray[np.bool_]) -> dict[str, int | float | None]:
    """`TP`, `TN`, `FP`, `FN`, and `ACC`, `SEN`, `SPE` (Eq. 18-20), None where there is no case to count.

    Args:
        positive: `(N,)`, whether each case is predicted positive.
        actual: `(N,)`, whether it is.
    """
    tp, tn = int((positive & actual).sum()), int((~positive & ~actual).sum())
    fp, fn = int((positive & ~actual).sum()), int((~positive & actual).sum())
    ratios = {"ACC": _ratio(tp + tn, len(actual)), "SEN": _ratio(tp, tp + fn), "SPE": _ratio(tn, tn + fp)}
    return {"TP": tp, "TN": tn, "FP": fp, "FN": fn, **ratios}


def missing_class(actual: npt.NDArray[np.bool_]) -> str | None:
    """Why the area under a curve is undefined: which class has no case; None where both have."""
    missing = [name for name, there in (("positive", actual.any()), ("negative", (~actual).any())) if not there]
    return f"no {' and no '.join(missing)} cases" if missing else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
