"""DeLong's test of two areas under the ROC curve of the same cases.

E. R. DeLong et al., Biometrics 44 (1988) 837-845; by ranks, as X. Sun and W. Xu, IEEE Signal Processing Letters 21
(2014) 1389-1393.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm, rankdata

from nnunet_mgcl.evaluation.measures.probability import Classes, Probabilities


def delong_test(first: Probabilities, second: Probabilities, actual: Classes) -> dict[str, float | str | None]:
    """Compares two models' probabilities `(N,)` of the same cases, of which both classes have two or more.

    Returns:
        `difference` of the areas (first minus second), its standard error `se`, `z` and the two-sided `p`. The last two
        are None where the error is 0, and `reason` says so.
    """
    (area_1, positive_1, negative_1), (area_2, positive_2, negative_2) = (
        _components(p, actual) for p in (first, second)
    )
    variance = np.var(positive_1 - positive_2, ddof=1) / len(positive_1)
    variance += np.var(negative_1 - negative_2, ddof=1) / len(negative_1)
    difference, se = area_1 - area_2, math.sqrt(variance)
    if se < 1e-12:
        why = "the two models rank the cases alike" if abs(difference) < 1e-12 else "every case has the same difference"
        reason = f"{why}: its error is 0"
        return {"difference": difference, "se": 0.0, "z": None, "p": None, "reason": reason}
    z = difference / se
    return {"difference": difference, "se": se, "z": z, "p": float(2 * norm.sf(abs(z))), "reason": None}


def _components(probabilities: Probabilities, actual: Classes) -> tuple[float, np.ndarray, np.ndarray]:
    """The area, and for each positive (negative) case the fraction of negative (positive) ones that it ranks right."""
    positive, negative = probabilities[actual], probabilities[~actual]
    ranks = rankdata(np.concatenate([positive, negative]))
    of_positive = (ranks[: len(positive)] - rankdata(positive)) / len(negative)
    of_negative = 1 - (ranks[len(positive) :] - rankdata(negative)) / len(positive)
    return float(of_positive.mean()), of_positive, of_negative
