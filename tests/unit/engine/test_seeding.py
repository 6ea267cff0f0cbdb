from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from nnunet_mgcl.engine.seeding import reseed

SOURCES = [random.random, lambda: float(np.random.rand()), lambda: float(torch.rand(()))]
"""Python, NumPy and torch."""


def draws(*origin: int | str) -> list[float]:
    reseed(*origin)
    return [source() for source in SOURCES]


def test_same_origin_same_numbers_from_all_three_sources() -> None:
    first = draws(12345, 0, "coarse", "DWI", 3)
    for source in SOURCES:
        source()
    assert draws(12345, 0, "coarse", "DWI", 3) == first


@pytest.mark.parametrize(
    "other",
    [
        (12346, 0, "coarse", "DWI", 3),
        (12345, 1, "coarse", "DWI", 3),
        (12345, "all", "coarse", "DWI", 3),
        (12345, 0, "fine", "DWI", 3),
        (12345, 0, "coarse", "PWI", 3),
        (12345, 0, "coarse", "DWI", 4),
        (12345, 0, "coarse", "DWI", "3", 0),
    ],
)
def test_every_part_of_the_origin_counts(other) -> None:
    assert not set(draws(12345, 0, "coarse", "DWI", 3)) & set(draws(*other))
