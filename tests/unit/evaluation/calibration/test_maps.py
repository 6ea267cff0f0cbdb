from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import minimize
from scipy.special import expit, logit

from nnunet_mgcl.evaluation.calibration.maps import SMALLEST, Calibration, Platt, fit_calibration


def random_case(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    actual = rng.permutation(np.arange(60) < 20)
    probabilities = expit(rng.normal(2.0 * actual - 2, 3))
    return (np.round(probabilities, 1) if ties else probabilities), actual


def fitted(probabilities, actual) -> Calibration:
    result = fit_calibration(np.asarray(probabilities, float), np.asarray(actual, bool))
    assert isinstance(result, Calibration), result
    return Calibration.model_validate_json(result.model_dump_json())


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_platt_s_map_is_the_maximum_of_his_likelihood(seed, ties) -> None:
    probabilities, actual = random_case(seed, ties)
    x = logit(np.clip(probabilities, 1e-6, 1 - 1e-6))
    positive, negative = actual.sum(), (~actual).sum()
    target = np.where(actual, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
        z = line[0] * x + line[1]
        excess = expit(z) - target
        return float(np.mean(np.logaddexp(0, z) - target * z)), np.array([np.mean(excess * x), np.mean(excess)])

    expected = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-10}).x
    own = fitted(probabilities, actual)
    assert (own.method, own.cases, own.positive) == ("platt", 60, 20)
    assert [own.parameters.slope, own.parameters.intercept] == pytest.approx(expected, abs=1e-6)


def test_ten_cases_of_each_class_suffice_and_have_a_finite_curve_though_they_never_overlap() -> None:
    own = fitted(np.repeat([0.499999, 0.500001], 10), np.repeat([False, True], 10))
    assert [own.apply(0.499999), own.apply(0.500001)] == pytest.approx([1 / 12, 11 / 12], abs=1e-4)


def test_probabilities_of_exactly_0_and_1_take_part_and_none_comes_out() -> None:
    probabilities, actual = random_case(0)
    probabilities[actual], probabilities[~actual] = 1, 0
    probabilities[:2] = 0.4
    own = fitted(probabilities, actual)
    assert own.apply(0) == own.apply(SMALLEST) > 0 and own.apply(1) == own.apply(1 - SMALLEST) < 1
    steep = Calibration(method="platt", parameters=Platt(slope=1e5, intercept=0), cases=20, positive=10)
    assert (steep.apply(0), steep.apply(1)) == (SMALLEST, 1 - SMALLEST)


@pytest.mark.parametrize(
    ("probabilities", "positive", "reason"),
    [
        ([], 0, "0 positive and 0 negative cases, 10 of each"),
        (np.linspace(0.1, 0.9, 40), 40, "40 positive and 0 negative"),
        (np.linspace(0.1, 0.9, 40), 9, "9 positive and 31 negative"),
        (np.full(40, 0.3), 20, "the same probability"),
        (np.ones(40), 20, "the same probability"),
        (np.linspace(0.9, 0.1, 40), 20, "no better than chance"),
        (np.tile([0.2, 0.8], 20), 20, "no better than chance"),
    ],
)
def test_where_there_is_no_map_it_says_why(probabilities, positive, reason) -> None:
    """The last cases are the positive ones."""
    actual = np.arange(len(probabilities)) >= len(probabilities) - positive
    assert reason in fit_calibration(np.array(probabilities, float), actual)


PLATT = {"slope": 1.0, "intercept": 0.0}
KNOTS = {"probability": [0.1, 0.5], "calibrated": [0.2, 0.3]}


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("platt", PLATT | {"slope": float("nan")}),
        ("platt", PLATT | {"intercept": float("inf")}),
        ("platt", KNOTS),
        ("isotonic", KNOTS | {"probability": [0.5, 0.1]}),
        ("isotonic", KNOTS | {"calibrated": [0.3, 0.2]}),
        ("isotonic", KNOTS | {"calibrated": [0.2, 1.3]}),
        ("isotonic", KNOTS | {"calibrated": [0.2]}),
    ],
)
def test_what_is_no_map_is_refused(method, parameters) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate({"method": method, "parameters": parameters, "cases": 40, "positive": 20})
