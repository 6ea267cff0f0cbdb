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
    one, other = (_components(p, actual) for p in (first, second))
    difference = float(one[0].mean() - other[0].mean())
    se = math.sqrt(sum(np.var(a - b, ddof=1) / len(a) for a, b in zip(one, other, strict=True)))
    if se < 1e-12:
        why = "the two models rank the cases alike" if abs(difference) < 1e-12 else "every case has the same difference"
        return {"difference": difference, "se": 0.0, "z": None, "p": None, "reason": f"{why}: its error is 0"}
    z = difference / se
    return {"difference": difference, "se": se, "z": z, "p": float(2 * norm.sf(abs(z))), "reason": None}


def _components(probabilities: Probabilities, actual: Classes) -> tuple[np.ndarray, np.ndarray]:
    """For each positive (negative) case the fraction of negative (positive) ones that it ranks right."""
    positive, negative = probabilities[actual], probabilities[~actual]
    ranks = rankdata(np.concatenate([positive, negative]))
    of_positive = (ranks[: len(positive)] - rankdata(positive)) / len(negative)
    return of_positive, 1 - (ranks[len(positive) :] - rankdata(negative)) / len(positive)
