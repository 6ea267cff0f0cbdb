"""The map from a predicted probability to a calibrated one, and how it is fitted."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from nnunet_mgcl.evaluation.measures.probability import SMALLEST, Classes, Probabilities

CASES_OF_A_CLASS = 10
"""Fewer are not enough to fit the slope of a map."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Block(BaseModel):
    """Validated, unchangeable JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Platt(Block):
    """A logistic curve over the logit of the probability."""

    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    intercept: Finite

    def value(self, probability: float) -> float:
        """The curve at a probability in (0, 1)."""
        return float(expit(self.slope * logit(probability) + self.intercept))


class Isotonic(Block):
    """Straight lines between knots; beyond them the value of the first and the last one.

    Earlier versions fitted it to many cases, and their models have it still.
    """

    probability: Annotated[list[Probability], Field(min_length=2)]
    calibrated: list[Probability]

    @model_validator(mode="after")
    def _is_increasing(self) -> Self:
        if len(self.probability) != len(self.calibrated):
            raise ValueError("as many values as knots expected")
        if min(np.diff(self.probability)) <= 0 or min(np.diff(self.calibrated)) < 0:
            raise ValueError("increasing knots and values expected")
        return self

    def value(self, probability: float) -> float:
        """The lines at a probability."""
        return float(np.interp(probability, self.probability, self.calibrated))


class Calibration(Block):
    """A fitted map.

    Attributes:
        method: How it was fitted.
        parameters: The map.
        cases: That it was fitted on.
        positive: How many of them are positive.
    """

    method: Literal["platt", "isotonic"]
    parameters: Platt | Isotonic
    cases: int
    positive: int

    @model_validator(mode="after")
    def _parameters_are_the_method_s(self) -> Self:
        if self.method != type(self.parameters).__name__.lower():
            raise ValueError(f"parameters of {self.method} expected")
        return self

    def apply(self, probability: float) -> float:
        """The calibrated probability, never 0 or 1."""
        inside = min(max(probability, SMALLEST), 1 - SMALLEST)
        return min(max(self.parameters.value(inside), SMALLEST), 1 - SMALLEST)


def fit_calibration(probabilities: Probabilities, actual: Classes) -> Calibration | str:
    """Fits Platt's map.

    Args:
        probabilities: `(N,)` of the positive class, of cases that the model did not train on.
        actual: `(N,)`, whether they are positive.

    Returns:
        The map, or why there is none.
    """
    cases, positive = len(actual), int(actual.sum())
    if min(positive, cases - positive) < CASES_OF_A_CLASS:
        return f"{positive} positive and {cases - positive} negative cases, {CASES_OF_A_CLASS} of each are needed"
    clipped = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    if np.ptp(clipped) == 0:
        return "all cases have the same probability"
    slope, intercept = _fit_platt(clipped, actual)
    if slope <= 0:
        return "positive cases do not have the higher probabilities: the model ranks no better than chance"
    platt = Platt(slope=slope, intercept=intercept)
    return Calibration(method="platt", parameters=platt, cases=cases, positive=positive)


def _fit_platt(probabilities: Probabilities, actual: Classes) -> tuple[float, float]:
    """Slope and intercept of a logistic regression on the logits, with Platt's targets, which are not quite 0 and 1."""
    positive, negative = int(actual.sum()), int((~actual).sum())
    target = np.where(actual, (positive + 1) / (positive + 2), 1 / (negative + 2))
    # A case whose target is 0.9 is 0.9 positive cases and 0.1 negative ones.
    logits, classes = np.tile(logit(probabilities), 2)[:, None], np.repeat([1, 0], len(actual))
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(logits, classes, np.concatenate([target, 1 - target]))
    return float(model.coef_[0, 0]), float(model.intercept_[0])
