"""The losses of the comparators, re-derived from their papers' equations with plain loops in float64."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnunet_mgcl.losses import IGNORE_INDEX, supcon_loss
from nnunet_mgcl.losses.agreement import byol_loss, simsiam_loss
from nnunet_mgcl.losses.class_contrast import class_contrast_loss
from nnunet_mgcl.losses.region_contrast import region_loss
from nnunet_mgcl.pretraining.comparators.gcl import GCLGlobal
from nnunet_mgcl.pretraining.comparators.mixup import mixup_loss
from nnunet_mgcl.pretraining.comparators.positional import PositionalCL
from nnunet_mgcl.pretraining.comparators.semi_cl import draw_pixels, pixel_labels
from nnunet_mgcl.pretraining.comparators.simclr import SimCLR

TAU = 0.2


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Vectors of different lengths, which the cosine has to remove."""
    random = torch.Generator().manual_seed(seed)
    vectors = torch.randn(*shape, dtype=torch.float64, generator=random)
    return (vectors * (1 + torch.rand(*shape[:-1], 1, dtype=torch.float64, generator=random))).requires_grad_()


def cos(v: Tensor, w: Tensor) -> Tensor:
    return v.dot(w) / (v.dot(v).sqrt() * w.dot(w).sqrt())


def assert_equal(loss: Tensor, expected: Tensor, at: Tensor) -> None:
    """Value and gradient."""
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    (gradient,), (expected_gradient,) = (torch.autograd.grad(own, at) for own in (loss, expected))
    assert expected_gradient.abs().max() > 1e-3
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-10)


def loss_of(method: Any, views: Tensor, **batch: Any) -> Tensor:
    """What a method makes of embeddings `(2, B, D)`, by its own labels."""
    settings = method.Settings(temperature=TAU)
    run = SimpleNamespace(config=SimpleNamespace(block=lambda _: settings), rank=0)
    return method.loss(run, (views,), {"data": torch.zeros(views.shape[1]), **batch})


def test_simclr_is_nt_xent() -> None:
    """Eq. 1 of SimCLR, averaged over both orders of all pairs."""
    views = draw(2, 3, 4)
    everything, losses = [*views[0], *views[1]], []
    for i in range(6):
        j = (i + 3) % 6
        denominator = sum((cos(everything[i], everything[k]) / TAU).exp() for k in range(6) if k != i)
        losses.append(-((cos(everything[i], everything[j]) / TAU).exp() / denominator).log())
    assert_equal(loss_of(SimCLR(), views), sum(losses) / 6, views)


def test_positional_contrast_takes_all_nearby_positions_as_positives() -> None:
    """Eq. 1 of PCL: nearness is not transitive, so the positives of two neighbours may differ."""
    views, positions = draw(2, 5, 4), [0.0, 0.07, 0.14, 0.5, 0.9]
    everything, where, losses = [*views[0], *views[1]], positions * 2, []
    for i in range(10):
        positives = [j for j in range(10) if j != i and abs(where[i] - where[j]) < 0.1]
        denominator = sum((cos(everything[i], everything[k]) / TAU).exp() for k in range(10) if k != i)
        ratios = [((cos(everything[i], everything[j]) / TAU).exp() / denominator).log() for j in positives]
        losses.append(-sum(ratios) / len(positives))
    loss = loss_of(PositionalCL(), views, positions=torch.tensor(positions, dtype=torch.float64))
    assert_equal(loss, sum(losses) / 10, views)


def test_positions_without_any_contrast_are_an_exact_zero() -> None:
    vectors = draw(4, 3)
    assert supcon_loss(vectors, torch.full((4,), 0.5), temperature=TAU, reach=0.1).item() == 0


def test_global_contrast_takes_the_same_quarter_as_positives() -> None:
    views, positions = draw(2, 5, 4), torch.tensor([0.01, 0.24, 0.26, 0.99, 1.0])
    expected = supcon_loss(views.flatten(0, 1), torch.tensor([0, 0, 1, 3, 3] * 2), temperature=TAU)
    assert_equal(loss_of(GCLGlobal(), views, positions=positions), expected, views)


def test_region_contrast_is_within_an_image() -> None:
    """Eq. 3 and 4 of GCL."""
    copies, losses = draw(2, 3, 4, 5), []
    for b in range(3):
        regions = [*copies[0, b], *copies[1, b]]
        for i in range(8):
            denominator = sum((cos(regions[i], regions[k]) / TAU).exp() for k in range(8) if k != i)
            losses.append(-((cos(regions[i], regions[(i + 4) % 8]) / TAU).exp() / denominator).log())
    assert_equal(region_loss(copies, TAU), sum(losses) / len(losses), copies)


def test_byol_is_the_squared_distance_of_unit_vectors_to_the_other_view() -> None:
    predictions, targets = draw(2, 3, 4), draw(2, 3, 4, seed=1)
    expected = sum(
        (predictions[v, b] / predictions[v, b].norm() - (targets[1 - v, b] / targets[1 - v, b].norm()).detach())
        .square()
        .sum()
        for v in range(2)
        for b in range(3)
    )
    loss = byol_loss(predictions, targets)
    assert_equal(loss, expected / 3, predictions)
    assert torch.autograd.grad(byol_loss(predictions, targets), targets, allow_unused=True) == (None,)


def test_simsiam_stops_the_gradient_of_what_is_predicted() -> None:
    """Eq. 1, 3 and 4 of SimSiam."""
    predictions, embeddings = draw(2, 3, 4), draw(2, 3, 4, seed=1)
    views = [sum(-cos(predictions[v, b], embeddings[1 - v, b].detach()) for b in range(3)) / 3 for v in range(2)]
    assert_equal(simsiam_loss(predictions, embeddings), views[0] / 2 + views[1] / 2, predictions)
    assert torch.autograd.grad(simsiam_loss(predictions, embeddings), embeddings, allow_unused=True) == (None,)


LABELS = {
    "two classes": [[0, 0, 1, 1, 0, 1], [0, 1, 0, 0, 0, 0]],
    "one class in an image": [[0, 0, 0, 0, 0, 0], [0, 1, 2, 0, 2, 0]],
    "voxels not annotated": [[0, -1, 1, -1, 0, 1], [-1, -1, 0, 0, 1, -1]],
}


@pytest.mark.parametrize("name", LABELS)
def test_class_contrast_is_against_the_means_of_other_classes_in_all_images(name: str) -> None:
    """Eq. 2 of LCLPL, in expectation over the anchors: with many draws, each voxel of a class counts alike."""
    embeddings, labels = draw(2, 4, 6), LABELS[name]
    members = {(b, c): [x for x in range(6) if labels[b][x] == c] for b in range(2) for c in range(3) if c in labels[b]}
    means = {key: sum(embeddings[key[0], :, x] for x in own) / len(own) for key, own in members.items()}
    losses = []
    for (b, c), own in members.items():
        per_voxel = []
        for x in own:
            anchor = embeddings[b, :, x]
            positive = (cos(anchor, means[b, c]) / TAU).exp()
            negatives = [(cos(anchor, mean) / TAU).exp() for (_, k), mean in means.items() if k != c]
            per_voxel.append(-(positive / (positive + sum(negatives))).log())
        losses.append(sum(per_voxel) / len(own))
    torch.manual_seed(0)
    loss = class_contrast_loss(embeddings, torch.tensor(labels), 200_000, TAU)
    torch.testing.assert_close(loss, sum(losses) / len(losses), rtol=5e-3, atol=0)


@pytest.mark.parametrize("value", [0, 1, -1])
def test_class_contrast_of_a_single_class_is_an_exact_zero_with_a_graph(value: int) -> None:
    embeddings = draw(2, 4, 6)
    loss = class_contrast_loss(embeddings, torch.full((2, 6), value), 3, TAU)
    loss.backward()
    assert loss.item() == 0 and embeddings.grad.eq(0).all()


def test_pixels_of_a_lesion_are_anchors_and_background_is_only_negative() -> None:
    """Eq. 2 of Semi-CL."""
    vectors, masks = draw(7, 4), [0, 1, 2, 1, 0, 2, 3]  # 3: not annotated
    losses = []
    for i in (1, 2, 3, 5):
        positives = [j for j in range(6) if j != i and masks[j] == masks[i]]
        denominator = sum((cos(vectors[i], vectors[k]) / TAU).exp() for k in range(6) if k != i)
        losses.append(-sum(((cos(vectors[i], vectors[j]) / TAU).exp() / denominator).log() for j in positives))
    labels = pixel_labels(torch.tensor(masks), 3)
    loss = supcon_loss(vectors, labels, temperature=TAU, ignore_index=IGNORE_INDEX)
    assert_equal(loss, sum(losses) / 4, vectors)


def test_background_pixels_of_two_ranks_have_no_positive() -> None:
    masks = torch.tensor([0, 0, 1, 0])
    both = torch.cat([pixel_labels(masks, None, rank) for rank in (0, 1)])
    assert both.tolist().count(1) == 2 and len(set(both.tolist())) == 7 and IGNORE_INDEX not in both


def test_half_of_the_drawn_pixels_are_of_lesions_where_there_are_so_many() -> None:
    masks = torch.zeros(3, 1000)
    masks[0, :300], masks[1, :4] = 1, 1
    torch.manual_seed(0)
    chosen = draw_pixels(masks, 200)
    assert all(len(set(row.tolist())) == 200 for row in chosen)
    lesion = masks.gather(1, chosen).sum(1).tolist()
    assert 80 <= lesion[0] <= 120 and lesion[1:] == [4, 0]


def test_mixup_mixes_images_and_the_losses_of_both_targets() -> None:
    """Eq. 1 of mixup; the order of the batch is drawn by torch's seed."""
    network, share = nn.Conv2d(2, 2, 1).double(), 0.3
    images, target = draw(3, 2, 4, 4).detach(), (draw(3, 2, 4, 4, seed=1) > 0).double()
    torch.manual_seed(5)
    order = torch.randperm(3)
    assert order.tolist() != [0, 1, 2]
    output = network(torch.stack([share * images[b] + (1 - share) * images[order[b]] for b in range(3)]))
    other = torch.stack([target[order[b]] for b in range(3)])
    expected = share * (output - target).square().mean() + (1 - share) * (output - other).square().mean()
    torch.manual_seed(5)
    assert_equal(mixup_loss(nn.MSELoss(), network, images, target, share), expected, network.weight)
