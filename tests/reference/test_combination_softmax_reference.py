"""The factorised softmax over combinations of lesions, in float64 with plain loops.

One logit a modality; a label is a set of modalities. Softmax over all sets must be the product of the modalities'
own probabilities, and the likeliest set the one of all modalities above 0.5.
"""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from nnunet_mgcl.network.fusion import CombinationFusion, branch_channels, label_membership
from nnunet_mgcl.plan.config import MGCLConfig

Combination = frozenset[int]

BIT_MASK = [frozenset(m for m in range(3) if label >> m & 1) for label in range(8)]
"""DWI = 1, FLAIR = 2, PWI = 4."""

SHUFFLED = [frozenset(s) for s in ((), (1, 2), (0,), (0, 1, 2), (2,), (0, 2), (1,), (0, 1))]
"""All sets again, in no order; only the background keeps its place."""

TABLES = {
    "one modality": [frozenset(), frozenset({0})],
    "two modalities": [frozenset(), frozenset({0}), frozenset({1}), frozenset({0, 1})],
    "two modalities, swapped": [frozenset(), frozenset({0, 1}), frozenset({1}), frozenset({0})],
    "bit mask": BIT_MASK,
    "shuffled": SHUFFLED,
}

SHAPE = (2, 3, 5)
"""A batch of two and two spatial axes."""


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(value) for value in values]
    return [e / sum(exponentials) for e in exponentials]


def table_of(labels: list[Combination]) -> torch.Tensor:
    """`(L, M)`, by way of the configuration that a plan would hold."""
    modalities = sorted(set().union(*labels))
    config = MGCLConfig(
        modalities={f"m{m}": [m] for m in modalities},
        lesion_labels={f"m{m}": [value for value, members in enumerate(labels) if m in members] for m in modalities},
    )
    return label_membership(config.labels_by_branch, len(labels))


@pytest.fixture(params=TABLES)
def labels(request: pytest.FixtureRequest) -> list[Combination]:
    return TABLES[request.param]


@pytest.fixture
def branch_logits(labels: list[Combination]) -> list[torch.Tensor]:
    """One map a modality, `(B, 1, X, Y)`, from unlikely to near certain."""
    generator = torch.Generator().manual_seed(3)
    count = len(set().union(*labels))
    return [4 * torch.randn(SHAPE, generator=generator, dtype=torch.float64)[:, None] for _ in range(count)]


def voxels() -> list[tuple[int, ...]]:
    return list(product(*map(range, SHAPE)))


def test_softmax_over_combinations_is_the_product_of_the_branches_sigmoids(labels, branch_logits) -> None:
    fused = CombinationFusion(table_of(labels))(branch_logits)
    assert fused.shape == (SHAPE[0], len(labels), *SHAPE[1:])
    assert fused.dtype == torch.float64
    for b, x, y in voxels():
        probabilities = [sigmoid(float(logits[b, 0, x, y])) for logits in branch_logits]
        for label, found in enumerate(softmax(fused[b, :, x, y].tolist())):
            expected = 1.0
            for m, p in enumerate(probabilities):
                expected *= p if m in labels[label] else 1 - p
            assert found == pytest.approx(expected, rel=1e-10)


def test_argmax_is_each_branch_thresholded_at_a_half(labels, branch_logits) -> None:
    fused = CombinationFusion(table_of(labels))(branch_logits)
    seen = set()
    for b, x, y in voxels():
        above = frozenset(m for m, logits in enumerate(branch_logits) if sigmoid(float(logits[b, 0, x, y])) > 0.5)
        assert labels[int(fused[b, :, x, y].argmax())] == above
        seen.add(above)
    assert len(seen) > 1


def test_branch_channels_are_the_branches_own_logits(labels, branch_logits) -> None:
    membership = table_of(labels)
    channels = branch_channels(membership)
    assert [labels[channel] for channel in channels] == [frozenset({m}) for m in range(len(branch_logits))]
    fused = CombinationFusion(membership)(branch_logits)
    for channel, logits in zip(channels, branch_logits, strict=True):
        assert torch.equal(fused[:, channel], logits[:, 0])
