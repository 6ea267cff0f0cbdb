"""Chance and floor of the contrastive loss, against the loss itself and against plain loops in float64."""

from __future__ import annotations

from math import log

import pytest
import torch

from nnunet_mgcl.losses import contrast_chance, contrast_floor, supcon_loss

COUNTS = [(4, 4), (22, 2), (1, 5), (5, 1), (3, 40), (1, 1), (7, 0), (0, 0), (300, 4)]


def labels_of(counts) -> torch.Tensor:
    return torch.cat([torch.full((own,), label) for label, own in enumerate(counts)])


def antipodal(labels) -> torch.Tensor:
    return torch.stack([labels * 2.0 - 1, torch.zeros(len(labels))], 1).double()


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
def test_floor_is_the_loss_of_opposite_points(counts, temperature) -> None:
    labels = labels_of(counts)
    loss = supcon_loss(antipodal(labels), labels, temperature=temperature)
    assert contrast_floor(counts, temperature) == pytest.approx(loss.item(), abs=1e-6)


@pytest.mark.parametrize("counts", [(4, 4), (22, 2), (6, 30)])
def test_no_descent_gets_below_the_floor_but_near_it(counts) -> None:
    labels = labels_of(counts)
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(len(labels), 4, dtype=torch.float64, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([embeddings], 0.05)
    losses = []
    for _ in range(400):
        optimizer.zero_grad()
        loss = supcon_loss(embeddings, labels, temperature=0.5)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    floor = contrast_floor(counts, 0.5)
    assert floor <= min(losses) < floor + 0.01


@pytest.mark.parametrize("counts", [(4, 4), (22, 2), (300, 4)])
def test_chance_is_the_loss_of_equal_embeddings(counts) -> None:
    labels = labels_of(counts)
    loss = supcon_loss(torch.ones(len(labels), 3, dtype=torch.float64), labels, temperature=0.1)
    assert contrast_chance(counts) == pytest.approx(loss.item())
    assert contrast_chance(counts) == log(len(labels) - 1)
