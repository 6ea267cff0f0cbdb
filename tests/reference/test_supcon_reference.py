"""Eq. 2-4 and 6-8 of the paper, re-derived with plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from nnunet_mgcl.losses import patch_labels, supcon_loss


def similarity(v: list[float], w: list[float]) -> float:
    """Eq. 2 and 6."""
    dot = sum(a * b for a, b in zip(v, w, strict=True))
    return dot / (math.sqrt(sum(a * a for a in v)) * math.sqrt(sum(b * b for b in w)))


def supcon(vectors: list[list[float]], labels: list[int], tau: float, ignored: int | None) -> float:
    """Eq. 3-4 and 7-8 with one minus sign; anchors have a positive and a negative."""
    batch = [i for i, y in enumerate(labels) if y != ignored]
    losses = []
    for i in batch:
        positives = [j for j in batch if j != i and labels[j] == labels[i]]
        negatives = [j for j in batch if labels[j] != labels[i]]
        if not positives or not negatives:
            continue
        denominator = sum(math.exp(similarity(vectors[i], vectors[k]) / tau) for k in batch if k != i)
        log_ratios = [math.log(math.exp(similarity(vectors[i], vectors[j]) / tau) / denominator) for j in positives]
        losses.append(-sum(log_ratios) / len(positives))
    return sum(losses) / len(losses) if losses else 0.0


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


@pytest.mark.parametrize("tau", [0.1, 0.7])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_loss_is_eq_3_and_4(labels: list[int], tau: float) -> None:
    vectors = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    vectors *= torch.arange(1, 8)[:, None]  # lengths that normalisation has to remove
    loss = supcon_loss(vectors, torch.tensor(labels), temperature=tau, ignore_index=-1)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(supcon(vectors.tolist(), labels, tau, -1), rel=1e-12, abs=0)


def test_gradient_is_that_of_eq_3_and_4() -> None:
    labels, tau, step = LABELS["ignored samples"], 0.5, 1e-6
    vectors = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    vectors.requires_grad_()
    supcon_loss(vectors, torch.tensor(labels), temperature=tau, ignore_index=-1).backward()
    for i in range(7):
        for d in range(3):
            above, below = vectors.tolist(), vectors.tolist()
            above[i][d] += step
            below[i][d] -= step
            slope = (supcon(above, labels, tau, -1) - supcon(below, labels, tau, -1)) / (2 * step)
            assert vectors.grad[i, d].item() == pytest.approx(slope, abs=1e-8)


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
