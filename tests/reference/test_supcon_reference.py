"""Eq. 2-4 and 6-8 of the paper, re-derived with plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nnunet_mgcl.losses import patch_labels, supcon_loss


def similarity(v: Tensor, w: Tensor) -> Tensor:
    """Eq. 2 and 6."""
    return v.dot(w) / (v.dot(v).sqrt() * w.dot(w).sqrt())


def supcon(vectors: Tensor, labels: list[int], tau: float, ignored: int | None) -> Tensor:
    """Eq. 3-4 and 7-8 with one minus sign; anchors have a positive and a negative."""
    batch = [i for i, y in enumerate(labels) if y != ignored]
    losses = []
    for i in batch:
        positives = [j for j in batch if j != i and labels[j] == labels[i]]
        negatives = [j for j in batch if labels[j] != labels[i]]
        if not positives or not negatives:
            continue
        scores = {k: similarity(vectors[i], vectors[k]) / tau for k in batch if k != i}
        denominator = sum(score.exp() for score in scores.values())
        log_ratios = [(scores[j].exp() / denominator).log() for j in positives]
        losses.append(-sum(log_ratios) / len(positives))
    return sum(losses) / len(losses) if losses else 0 * vectors.sum()


def draw(count: int, width: int = 5) -> Tensor:
    """Vectors of different lengths, which normalisation has to remove."""
    vectors = torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return vectors * (1 + torch.arange(count) % 7)[:, None]


def assert_both_forms_agree(vectors: Tensor, labels: list[int], tau: float) -> None:
    """The one matrix and the tiles (of 4 x 4) have the value and the gradient of the loops."""
    expected_at = vectors.clone().requires_grad_()
    expected = supcon(expected_at, labels, tau, -1)
    expected.backward()
    for tile in (None, 4):
        at = vectors.clone().requires_grad_()
        loss = supcon_loss(at, torch.tensor(labels), temperature=tau, ignore_index=-1, tile=tile)
        loss.backward()
        torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(at.grad, expected_at.grad, rtol=1e-10, atol=1e-10)


TEMPERATURES = [0.5, 0.1, 0.07, 0.019, 0.01]
LABELS = {
    "two classes": [0, 1, 0, 1, 1, 0, 0],
    "a single positive": [0, 0, 0, 1, 0, 0, 0],
    "more classes": [0, 1, 2, 2, 1, 1, 3],
    "ignored samples": [-1, 0, 1, -1, 1, 0, 0],
    "one class": [1, 1, 1, 1, 1, 1, 1],
    "one class beside ignored samples": [1, -1, 1, 1, -1, 1, 1],
    "no anchor has a positive": [0, 1, 2, 3, 4, 5, 6],
    "everything ignored": [-1] * 7,
}


@pytest.mark.parametrize("tau", TEMPERATURES)
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_loss_is_eq_3_and_4(labels: list[int], tau: float) -> None:
    assert_both_forms_agree(draw(7), labels, tau)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 13])
def test_loss_is_eq_3_and_4_for_every_number_of_samples_around_the_tile(count: int) -> None:
    for labels in ([i % 2 for i in range(count)], [i // 3 for i in range(count)], [i % 4 - 1 for i in range(count)]):
        assert_both_forms_agree(draw(count), labels, 0.1)


@pytest.mark.parametrize("tau", TEMPERATURES)
@pytest.mark.parametrize("signs", [[1, 1, 1, 1, 1, 1, 1], [1, -1, 1, -1, -1, 1, -1], [1, 1, 1, 1, 1, 1, -1]])
def test_loss_is_eq_3_and_4_where_embeddings_collapse_or_oppose_each_other(signs: list[int], tau: float) -> None:
    vectors = draw(1).expand(7, -1) * torch.tensor(signs)[:, None]
    for labels in ([0, 1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1, 1]):
        assert_both_forms_agree(vectors, labels, tau)


def patch_label(mask: list[list[int]], row: int, column: int, size: int, t: float, ignored: int) -> int:
    """Section 4.2: the area ratio of lesion and patch, over the annotated voxels inside the plane."""
    lesion = annotated = 0
    for x in range(row * size, min((row + 1) * size, len(mask))):
        for y in range(column * size, min((column + 1) * size, len(mask[0]))):
            annotated += mask[x][y] != ignored
            lesion += mask[x][y] not in (0, ignored)
    if annotated == 0:
        return -1
    return int(lesion / annotated >= t)


@pytest.mark.parametrize("shape", [(12, 8), (13, 7), (3, 3)], ids=["whole", "ragged", "smaller than a patch"])
@pytest.mark.parametrize("t", [0.1, 0.5, 1.0])
def test_patch_labels_are_area_shares(shape: tuple[int, int], t: float) -> None:
    generator = torch.Generator().manual_seed(5)
    size, ignored = 4, 3
    mask = torch.randint(0, 2, (2, 1, 5, *shape), generator=generator)
    mask *= torch.rand(mask.shape, generator=generator) < 0.3
    mask[0, 0, 0] = torch.randint(0, 4, shape, generator=generator)
    mask[1, 0, 2] = ignored
    mask[0, 0, 1] = 2
    rows, columns = (math.ceil(side / size) for side in shape)
    expected = [
        [
            patch_label(plane.tolist(), row, column, size, t, ignored)
            for plane in sample[0]
            for row in range(rows)
            for column in range(columns)
        ]
        for sample in mask
    ]
    assert patch_labels(mask, size, t, ignored).tolist() == expected
    assert patch_labels(mask[:, :, 0], size, t, ignored).tolist() == [e[: rows * columns] for e in expected]
    assert {label for sample in expected for label in sample} == {-1, 0, 1}
