from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from nnunet_mgcl.evaluation.statistics.intervals import RESAMPLES, draws, interval


def test_draws_are_the_same_every_time() -> None:
    first, second = draws(list("abcdef")), draws(list("abcdef"))
    assert len(first) == RESAMPLES
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({tuple(sorted(draw)) for draw in first}) > 100


def test_cases_of_a_patient_stay_together() -> None:
    for draw in draws(["a", "b", "a", "c"]):
        count = Counter(draw.tolist())
        assert count[0] == count[2]
        assert count[0] + count[1] + count[3] == 3


def test_the_share_of_a_class_varies_as_it_does_among_new_patients() -> None:
    """Hits of a model that calls everybody positive: its accuracy is as uncertain as the share of positives."""
    positive = np.arange(40) < 26
    own = interval([positive[draw].mean() for draw in draws([str(i) for i in range(40)])])["ci95"]
    assert own == pytest.approx((stats.binom.ppf([0.025, 0.975], 40, 26 / 40) / 40).tolist(), abs=0.026)


def test_a_single_patient_gives_no_resample() -> None:
    assert draws(["a", "a"]) == [] == draws([])


def test_resamples_that_agree_give_no_interval_of_no_width() -> None:
    values = np.full(7, 0.3)
    means = [values[draw].mean() for draw in draws(["a", "a", "a", "b", "c", "c", "d"])]
    assert interval(means) == {"ci95": None, "ci_method": None, "ci_reason": "every resample gives the same value"}
    assert interval([0.0, 0.0])["ci95"] is None
    assert interval([])["ci_reason"] == "fewer than two patients"
    assert interval([0.0, 1e-3])["ci_method"] == "bootstrap"
    assert interval([None, 0.0, None, 1.0])["ci95"] == interval([0.0, 1.0])["ci95"], "undefined on some resamples"
