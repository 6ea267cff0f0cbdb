"""Against scikit-learn, SciPy and a plain loop."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from nnunet_mgcl.evaluation.calibration.maps import SMALLEST, Calibration, Isotonic, Platt, fit_calibration


def random_case(seed: int, cases: int = 60, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    actual = rng.permutation(np.arange(cases) < cases // 3)
    probabilities = expit(rng.normal(2.0 * actual - 2, 3))
    return (np.round(probabilities, 1) if ties else probabilities), actual


def fitted(probabilities, actual) -> Calibration:
    result = fit_calibration(np.asarray(probabilities, float), np.asarray(actual, bool), len(actual))
    assert isinstance(result, Calibration), result
    return result


def applied(own: Calibration, probabilities) -> np.ndarray:
    return np.array([own.apply(float(p)) for p in probabilities])


class TestPlatt:
    @pytest.mark.parametrize("ties", [False, True])
    @pytest.mark.parametrize("seed", range(4))
    def test_it_is_the_maximum_of_platt_s_likelihood(self, seed, ties) -> None:
        probabilities, actual = random_case(seed, ties=ties)
        x = logit(np.clip(probabilities, 1e-6, 1 - 1e-6))
        positive, negative = actual.sum(), (~actual).sum()
        target = np.where(actual, (positive + 1) / (positive + 2), 1 / (negative + 2))

        def loss(line):
            p = expit(line[0] * x + line[1])
            return -np.sum(target * np.log(p) + (1 - target) * np.log(1 - p))

        slope, intercept = minimize(loss, [1, 0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
        own = fitted(probabilities, actual)
        assert own.method == "platt" and (own.cases, own.positive) == (60, 20)
        assert own.parameters.slope == pytest.approx(slope, rel=1e-4)
        assert own.parameters.intercept == pytest.approx(intercept, abs=1e-4)

    @pytest.mark.parametrize("seed", range(3))
    def test_it_is_scikit_learn_s_sigmoid_on_the_logits(self, seed) -> None:
        probabilities, actual = random_case(seed)
        x = logit(probabilities)[:, None]
        margin = LogisticRegression().fit(x, actual)  # whose decision function is a line over x
        theirs = CalibratedClassifierCV(FrozenEstimator(margin), method="sigmoid").fit(x, actual)
        expected = theirs.predict_proba(x)[:, 1]
        assert applied(fitted(probabilities, actual), probabilities) == pytest.approx(expected, abs=1e-4)

    def test_classes_that_never_overlap_have_a_finite_curve(self) -> None:
        own = fitted(np.repeat([0.499999, 0.500001], 10), np.repeat([False, True], 10))
        assert applied(own, [0.499999, 0.500001]) == pytest.approx([1 / 12, 11 / 12], abs=1e-4)

    def test_probabilities_of_exactly_0_and_1_take_part_and_none_comes_out(self) -> None:
        probabilities, actual = random_case(0)
        probabilities[actual], probabilities[~actual] = 1, 0
        probabilities[:2] = 0.4
        own = fitted(probabilities, actual)
        assert own.apply(0) == own.apply(SMALLEST) > 0 and own.apply(1) == own.apply(1 - SMALLEST) < 1
        steep = Calibration(method="platt", parameters=Platt(slope=1e5, intercept=0), cases=20, positive=10)
        assert (steep.apply(0), steep.apply(1)) == (SMALLEST, 1 - SMALLEST)

    def test_a_calibrated_model_stays_as_it_is(self) -> None:
        rng = np.random.default_rng(0)
        probabilities = rng.random(900)
        own = fitted(probabilities, rng.random(900) < probabilities)
        assert applied(own, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.05)


class TestIsotonic:
    @staticmethod
    def pool_adjacent_violators(probabilities, actual) -> dict[float, float]:
        """Value of every different probability: neighbours are joined until the means increase."""
        blocks = []
        for value in sorted(set(probabilities)):
            own = actual[probabilities == value]
            blocks.append([own.sum(), len(own), [value]])
            while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
                last = blocks.pop()
                blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1], blocks[-1][2] + last[2]]
        return {value: positive / cases for positive, cases, values in blocks for value in values}

    @pytest.mark.parametrize("ties", [False, True])
    def test_it_is_pool_adjacent_violators_kept_off_0_and_1(self, ties) -> None:
        probabilities, actual = random_case(1, 1000, ties)
        probabilities = np.clip(np.round(probabilities, 3 if not ties else 1), 1e-3, 1 - 1e-3)
        own = fitted(probabilities, actual)
        assert own.method == "isotonic"
        expected = self.pool_adjacent_violators(probabilities, actual)
        values = np.clip(list(expected.values()), 1 / 1002, 1001 / 1002)
        assert applied(own, expected) == pytest.approx(values)

    def test_even_classes_that_never_overlap_are_not_certain(self) -> None:
        own = fitted(np.linspace(0.01, 0.99, 1000), np.arange(1000) >= 400)
        assert applied(own, [0, 0.3, 0.5, 1]) == pytest.approx([1 / 1002, 1 / 1002, 1001 / 1002, 1001 / 1002])

    def test_beyond_the_knots_the_map_is_flat_and_between_them_a_line(self) -> None:
        lines = Isotonic(probability=[0.2, 0.4, 0.6], calibrated=[0.1, 0.1, 0.7])
        own = Calibration(method="isotonic", parameters=lines, cases=1000, positive=500)
        assert applied(own, [0, 0.3, 0.5, 1]) == pytest.approx([0.1, 0.1, 0.4, 0.7])

    def test_it_takes_a_thousand_cases(self) -> None:
        assert fitted(*random_case(0, 999)).method == "platt"
        assert fitted(*random_case(0, 1000)).method == "isotonic"


class TestUncalibrated:
    @pytest.mark.parametrize(
        ("probabilities", "positive", "reason"),
        [
            ([], 0, "0 positive and 0 negative cases, 10 of each"),
            (np.linspace(0.1, 0.9, 40), 0, "0 positive and 40 negative"),
            (np.linspace(0.1, 0.9, 40), 40, "40 positive and 0 negative"),
            (np.linspace(0.1, 0.9, 40), 9, "9 positive and 31 negative"),
            (np.full(40, 0.3), 20, "the same probability"),
            (np.zeros(40), 20, "the same probability"),
            (np.ones(40), 20, "the same probability"),
            (np.linspace(0.9, 0.1, 40), 20, "no better than chance"),
            (np.tile([0.2, 0.8], 20), 20, "no better than chance"),
            (np.linspace(0.9, 0.1, 1200), 600, "no better than chance"),
        ],
    )
    def test_it_says_why(self, probabilities, positive, reason) -> None:
        """The last cases are the positive ones."""
        actual = np.arange(len(probabilities)) >= len(probabilities) - positive
        assert reason in fit_calibration(np.array(probabilities, float), actual, len(actual))

    def test_ten_cases_of_each_class_suffice(self) -> None:
        assert fitted(np.linspace(0.1, 0.9, 20), np.arange(20) >= 10).method == "platt"


@pytest.mark.parametrize("cases", [60, 1000])
def test_the_map_survives_json_to_the_last_digit(cases) -> None:
    probabilities, actual = random_case(2, cases)
    own = fitted(probabilities, actual)
    again = Calibration.model_validate(json.loads(json.dumps(own.model_dump())))
    assert again == own
    assert (applied(again, probabilities) == applied(own, probabilities)).all()


@pytest.mark.parametrize("cases", [60, 1000])
def test_no_map_turns_the_order_round(cases) -> None:
    own = fitted(*random_case(3, cases, ties=True))
    assert (np.diff(applied(own, np.linspace(0, 1, 500))) >= 0).all()


PLATT = {"slope": 1.0, "intercept": 0.0}
KNOTS = {"probability": [0.1, 0.5], "calibrated": [0.2, 0.3]}


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("platt", PLATT | {"slope": -1.0}),
        ("platt", PLATT | {"slope": float("nan")}),
        ("platt", PLATT | {"intercept": float("inf")}),
        ("platt", KNOTS),
        ("isotonic", PLATT),
        ("isotonic", KNOTS | {"probability": [0.5, 0.1]}),
        ("isotonic", KNOTS | {"calibrated": [0.3, 0.2]}),
        ("isotonic", KNOTS | {"calibrated": [0.2, 1.3]}),
        ("isotonic", KNOTS | {"calibrated": [0.2]}),
        ("beta", PLATT),
    ],
)
def test_what_is_no_map_is_refused(method, parameters) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate({"method": method, "parameters": parameters, "cases": 40, "positive": 20})
