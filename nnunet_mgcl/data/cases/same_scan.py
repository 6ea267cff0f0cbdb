"""Finds labelled cases that hold the same scan: a fold must not train on what it validates with."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

Twins = Sequence[tuple[str, str]]
"""Pairs of cases, by name."""


class SameScans:
    """Compares the channels of preprocessed cases, voxel by voxel.

    Of every case the middle slice is read; of cases that share one, everything.

    Args:
        load: Opens the image `(C, Z, Y, X)` of a case.
    """

    def __init__(self, load: Callable[[str], Any]) -> None:
        self._load = load
        self._alike: dict[str, list[tuple[str, int]]] = defaultdict(list)

    def add(self, case: str, data: Any) -> None:
        """Adds a case's image `(C, Z, Y, X)`, which is read lazily."""
        for channel in range(data.shape[0]):
            middle = data.shape[1] // 2
            values = np.ascontiguousarray(data[channel, middle : middle + 1])
            if values.min() < values.max():  # a channel that is empty there tells nothing
                digest = hashlib.sha256(repr(data.shape[1:]).encode() + values.tobytes()).hexdigest()
                self._alike[digest].append((case, channel))

    def twins(self) -> Twins:
        """The pairs of cases of which a channel is the same."""
        pairs = set()
        for alike in self._alike.values():
            for (one, channel), (other, number) in combinations(alike, 2):
                if one != other and np.array_equal(self._load(one)[channel], self._load(other)[number]):
                    pairs.add((one, other))
        return sorted(pairs)


def divided_twins(train: Sequence[str], val: Sequence[str], twins: Twins) -> list[str]:
    """The pairs, in words, of which one case is trained on and the other validated with."""
    sides = set(train), set(val)  # no case is on both
    return [f"{one} and {other}" for one, other in twins if all(side & {one, other} for side in sides)]
