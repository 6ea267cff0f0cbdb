from __future__ import annotations

import statistics

import pytest

from nnunet_mgcl.evaluation.statistics.averages import mean_sd


def test_mean_and_standard_deviation_are_the_sample_s() -> None:
    values = [0.2, None, 0.9, 0.4]
    result = mean_sd(values, "case")
    assert result["n"] == 3 and result["reason"] is None
    assert result["mean"] == pytest.approx(statistics.fmean([0.2, 0.9, 0.4]))
    assert result["sd"] == pytest.approx(statistics.stdev([0.2, 0.9, 0.4]))


@pytest.mark.parametrize(
    ("values", "mean", "reason"),
    [([], None, "defined in no fold"), ([None], None, "defined in no fold"), ([2.0], 2, "one fold")],
)
def test_what_is_undefined_has_a_reason(values, mean, reason) -> None:
    result = mean_sd(values, "fold")
    assert result["mean"] == mean and result["sd"] is None
    assert result["reason"].startswith(reason)
