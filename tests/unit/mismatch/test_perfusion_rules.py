from __future__ import annotations

import pytest

from nnunet_mgcl.mismatch.perfusion_rules import PerfusionMismatch, defuse3, extend


@pytest.mark.parametrize(
    ("rule", "core", "hypoperfused", "fulfilled"),
    [
        (extend, 30, 60, True),
        (extend, 69.999, 90, True),
        (extend, 70, 200, False),  # core < 70
        (extend, 60, 72, False),  # ratio > 1.2: 1.2 is not enough
        (extend, 50.3, 60.36, False),  # 1.2 times 50.3 is less than that in floating point
        (extend, 60, 72.001, True),
        (extend, 10, 20, False),  # difference > 10
        (extend, 10, 20.001, True),
        (extend, 0, 10.001, True),  # no core, no ratio
        (defuse3, 69.999, 140, True),
        (defuse3, 70, 200, False),  # core < 70
        (defuse3, 30, 54, True),  # ratio >= 1.8
        (defuse3, 30, 53.999, False),
        (defuse3, 14, 29, True),  # penumbra >= 15
        (defuse3, 14, 28.999, False),
        (defuse3, 20.1, 36.18, True),  # 1.8 times 20.1 is more than that in floating point
        (defuse3, 0, 15, True),
    ],
)
def test_rules_at_their_limits(rule, core, hypoperfused, fulfilled) -> None:
    assert rule(PerfusionMismatch(core, hypoperfused)) is fulfilled


def test_ratio_and_difference() -> None:
    volumes = PerfusionMismatch(20.0, 50.0)
    assert (volumes.ratio, volumes.difference_ml) == (2.5, 30.0)
    assert PerfusionMismatch(0.0, 50.0).ratio is None
