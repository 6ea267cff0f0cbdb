from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.evaluation.thresholds import out_of_fold_threshold, sensitivity_at_least, youden
from nnunet_mgcl.evaluation.tss_cases import TSSCases


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    actual = rng.permutation(np.arange(25) < 10)
    return np.round(0.4 * actual + 0.6 * rng.random(25), 1 + seed % 2), actual


def rates(threshold, probabilities, actual) -> tuple[float, float]:
    positive = probabilities >= threshold
    return positive[actual].mean(), (~positive)[~actual].mean()


@pytest.mark.parametrize("seed", range(6))
def test_youden_is_the_best_of_all_thresholds(seed) -> None:
    probabilities, actual = random_case(seed)
    best = max(sorted(set(probabilities)), key=lambda t: (round(sum(rates(t, probabilities, actual)), 9), t))
    assert youden(probabilities, actual) == best


@pytest.mark.parametrize("wanted", [0.05, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_wanted_sensitivity_is_reached_by_the_highest_threshold(seed, wanted) -> None:
    probabilities, actual = random_case(seed)
    reaching = [t for t in set(probabilities) if rates(t, probabilities, actual)[0] >= wanted - 1e-9]
    assert sensitivity_at_least(wanted)(probabilities, actual) == max(reaching)


def test_youden_of_a_model_that_ranks_wrongly_calls_nobody_or_everybody() -> None:
    assert youden(np.array([0.1, 0.9]), np.array([True, False])) == 0.1


def make_cases(probabilities, actual, patients="abcd") -> TSSCases:
    p, y = np.array(probabilities, float), np.array(actual, bool)
    return TSSCases(list("abcd"), np.zeros(4, int), list(patients), p, np.full(4, np.nan), y, np.ones(4, bool))


CASES = make_cases([0.8, 0.3, 0.6, 0.1], [True, False, True, False])


class TestOutOfFold:
    def test_only_training_cases_choose(self) -> None:
        seen = []
        rule = lambda p, y: seen.append((p.tolist(), y.tolist())) or 0.4  # noqa: E731
        assert out_of_fold_threshold(rule, CASES, {"train": ["a", "b"], "val": ["c", "d"]}) == (0.4, None)
        assert seen == [([0.8, 0.3], [True, False])]

    def test_another_case_of_a_validated_patient_takes_no_part(self) -> None:
        split = {"train": ["b", "c", "d"], "val": ["a"]}
        cases = make_cases([0.8, 0.3, 0.6, 0.1], [True, False, True, False], patients="abac")
        assert out_of_fold_threshold(youden, CASES, split) == (0.6, None)
        threshold, why = out_of_fold_threshold(youden, cases, split)
        assert threshold is None and why.startswith("no positive cases")

    @pytest.mark.parametrize(
        ("training", "reason"),
        [(["x"], "no out-of-fold predictions"), (["a", "c"], "no negative cases"), (["b"], "no positive cases")],
    )
    def test_what_cannot_choose_gives_the_reason(self, training, reason) -> None:
        threshold, why = out_of_fold_threshold(youden, CASES, {"train": training, "val": []})
        assert threshold is None and why.startswith(reason)
