"""Which cases a phantom has, and which modalities each of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nnunet_mgcl.phantom.options import PhantomOptions
from nnunet_mgcl.phantom.scanner.acquisition import CHANNELS, MODALITIES
from nnunet_mgcl.phantom.stroke.clock import draw_hours

CHANNEL_NUMBERS = {name: i for i, name in enumerate(name for names in CHANNELS.values() for name in names)}

PARTS = ("head", "clock", "stroke", "distractors", *MODALITIES)
"""What has random numbers of its own."""

NO_LESION_SHARE = 0.15
"""Share of the pool's cases without a stroke in view: nobody has read these scans. Chosen."""


@dataclass(frozen=True)
class Case:
    """A case to draw.

    Attributes:
        name: Its name.
        stream: What its random numbers are drawn from, together with the seed.
        hours: Time since onset.
        modalities: The modalities that it has.
        stroke: Whether it has a stroke.
    """

    name: str
    stream: tuple[int, int]
    hours: float
    modalities: tuple[str, ...] = MODALITIES
    stroke: bool = True

    def rng(self, options: PhantomOptions, part: str) -> np.random.Generator:
        """The random numbers of one part of the patient, or of one scan: the others do not depend on them."""
        return _rng(options, *self.stream, PARTS.index(part))


def all_cases(options: PhantomOptions) -> dict[str, list[Case]]:
    """The cases of nnU-Net's folders: training `Tr`, test `Ts`, and the pool `Un`."""
    test_cases = _labelled_cases(options, "phantom_test", options.test, stream=2)
    return {"Tr": training_cases(options), "Ts": test_cases, "Un": pool_cases(options)}


def training_cases(options: PhantomOptions) -> list[Case]:
    """The labelled training cases."""
    return _labelled_cases(options, "phantom", options.cases, stream=1)


def pool_cases(options: PhantomOptions) -> list[Case]:
    """The unlabelled, unpaired pool: each case has some of the modalities, each modality its fair share."""
    rng = _rng(options, 3)
    hours = draw_hours(options.unlabelled, rng)
    subsets = _subsets(options.unlabelled, rng)
    strokes = rng.permutation(options.unlabelled) >= round(NO_LESION_SHARE * options.unlabelled)
    return [
        Case(f"phantom_pool_{i:03d}", (4, i), hour, subset, bool(stroke))
        for i, (hour, subset, stroke) in enumerate(zip(hours, subsets, strokes, strict=True), start=1)
    ]


def _labelled_cases(options: PhantomOptions, prefix: str, count: int, stream: int) -> list[Case]:
    hours = draw_hours(count, _rng(options, stream, 0))
    return [Case(f"{prefix}_{i:03d}", (stream, i), hour) for i, hour in enumerate(hours, start=1)]


def _subsets(count: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Non-empty subsets of the modalities in turns, the full set first: one case suffices for all of them."""
    proper = [s for n in range(1, len(MODALITIES)) for s in combinations(MODALITIES, n)]
    subsets: list[tuple[str, ...]] = []
    while len(subsets) < count:
        subsets += [MODALITIES, *(proper[i] for i in rng.permutation(len(proper)))]
    return subsets[:count]


def _rng(options: PhantomOptions, *stream: int) -> np.random.Generator:
    return np.random.default_rng([options.seed, *stream])
