from __future__ import annotations

import statistics

import pytest

from nnunet_mgcl.evaluation.statistics.averages import mean_sd


@pytest.mark.parametrize(
    ("values", "mean", "sd", "reason"),
    [
        ([0.2, None, 0.9, 0.4], statistics.fmean([0.2, 0.9, 0.4]), statistics.stdev([0.2, 0.9, 0.4]), None),
        ([], None, None, "defined in no fold"),
        ([2.0], 2, None, "one fold only: no standard deviation"),
    ],
)
def test_mean_and_the_sample_s_standard_deviation_of_what_is_defined(values, mean, sd, reason) -> None:
    result = mean_sd(values, "fold")
    assert result["n"] == sum(value is not None for value in values) and result["reason"] == reason
    assert result["mean"] == (mean and pytest.approx(mean)) and result["sd"] == (sd and pytest.approx(sd))
