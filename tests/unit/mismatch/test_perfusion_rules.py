from __future__ import annotations

import pytest

from nnunet_mgcl.mismatch.perfusion_rules import PerfusionMismatch, defuse3, extend


@pytest.mark.parametrize(
    ("core", "hypoperfused", "fulfilled"),
    [
        (30, 60, True),
        (69.999, 90, True),
        (70, 200, False),  # core < 70
        (60, 72, False),  # ratio > 1.2: 1.2 is not enough
        (50.3, 60.36, False),  # 1.2 times 50.3 is less than that in floating point
        (60, 72.001, True),
        (10, 20, False),  # difference > 10
        (10, 20.001, True),
        (0, 10.001, True),  # no core, no ratio
        (0, 0, False),
        (20, 10, False),
    ],
)
def test_extend(core, hypoperfused, fulfilled) -> None:
    assert extend(PerfusionMismatch(core, hypoperfused)) is fulfilled


@pytest.mark.parametrize(
    ("core", "hypoperfused", "fulfilled"),
    [
        (30, 60, True),
        (69.999, 140, True),
        (70, 200, False),  # core < 70
        (30, 54, True),  # ratio >= 1.8
        (30, 53.999, False),
        (14, 29, True),  # penumbra >= 15
        (14, 28.999, False),
        (20.1, 36.18, True),  # 1.8 times 20.1 is more than that in floating point
        (0, 15, True),
        (0, 14.999, False),
    ],
)
def test_defuse3(core, hypoperfused, fulfilled) -> None:
    assert defuse3(PerfusionMismatch(core, hypoperfused)) is fulfilled


def test_ratio_and_difference() -> None:
    volumes = PerfusionMismatch(20.0, 50.0)
    assert (volumes.ratio, volumes.difference_ml) == (2.5, 30.0)
    assert PerfusionMismatch(0.0, 50.0).ratio is None
