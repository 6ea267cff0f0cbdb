"""What the comparators do beside their losses: labels, loaders, the average, the watch for a collapse."""

from __future__ import annotations

from math import cos, pi
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from nnunet_mgcl.engine.datasets import pool_dataset, unlabelled_dataset
from nnunet_mgcl.engine.loading import Sampling, open_batches
from nnunet_mgcl.losses.region_contrast import region_loss
from nnunet_mgcl.network.projection import CropProjection
from nnunet_mgcl.pretraining.comparators.byol import BYOL, BYOLModel
from nnunet_mgcl.pretraining.comparators.gcl import draw_regions, region_means
from nnunet_mgcl.pretraining.comparators.positions import PARTITIONS, PartitionLoader, PositionLoader
from nnunet_mgcl.pretraining.comparators.simclr import SimCLR
from nnunet_mgcl.pretraining.comparators.simsiam import SimSiam
from nnunet_mgcl.pretraining.monitor.spread import spread
from nnunet_mgcl.system.errors import UserError

TINY = {name: {"epochs": 2, "batch_size": 8, "embedding_dim": 8, "lr": 0.01} for name in ("simclr", "byol", "simsiam")}


def test_crops_of_two_ranks_have_labels_of_their_own() -> None:
    labels = [SimCLR().labels(SimpleNamespace(rank=rank), {"data": torch.zeros(3, 2)}).tolist() for rank in (0, 1)]
    assert len({*labels[0], *labels[1]}) == 6


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("loader", [PositionLoader, PartitionLoader])
def test_positions_are_those_of_the_crops_centres(make_context, loader, dimensions) -> None:
    """The images are made to hold the number of their slice."""
    context = make_context(dimensions=dimensions)
    branch = context.branches[0]
    dataset = pool_dataset(context, branch)
    load = dataset.load_case

    def numbered(identifier):
        data, seg, previous, properties = load(identifier)
        data = np.zeros(np.shape(data), np.float32) + np.arange(4, dtype=np.float32)[:, None, None]
        return data, np.asarray(seg[:]), previous, properties

    dataset.load_case = numbered
    plan = branch.configuration
    crops = loader(dataset, 16, plan.patch_size, plan.patch_size, branch.label_manager)
    batch = crops.generate_train_batch()
    assert batch["positions"].shape == (16,)
    if dimensions == 2:
        slices = batch["data"].flatten(1).mean(1)  # i of 4 slices
        torch.testing.assert_close(batch["positions"], (slices + 0.5) / 4)
    if loader is PartitionLoader:
        partitions = (batch["positions"] * PARTITIONS).floor().clamp(max=3).tolist()
        assert partitions == [0, 1, 2, 3] * 4
        keys = [*batch["keys"]]
        assert all(len(set(keys[start : start + 4])) == 1 for start in range(0, 16, 4))
        more = {key for _ in range(6) for key in crops.generate_train_batch()["keys"]}
        assert len(more) == 2


def test_positions_come_through_the_augmenter(make_context) -> None:
    context = make_context()
    branch = context.branches[0]
    sampling = Sampling(labels=False, views=2, loader=PositionLoader)
    with open_batches(context, branch, unlabelled_dataset(context, branch), 4, sampling) as batches:
        batch = next(batches)
    assert batch["data"].shape[:2] == (4, 2 * 2) and batch["positions"].shape == (4,)


def test_byol_s_teacher_keeps_what_section_3_2_says(make_context) -> None:
    context = make_context(mgcl=TINY)
    settings = BYOL().settings(context.config)
    model = BYOLModel(context.branches[0].build_unet(), settings)
    model.steps_in_all = 10
    weight = model.encoder.stages[0][0].convs[0].conv.weight
    teacher = model.teacher[0].stages[0][0].convs[0].conv.weight
    assert torch.equal(teacher, weight) and not teacher.requires_grad
    expected = teacher.clone()
    for step in range(3):
        with torch.no_grad():
            weight += 1
        share = 1 - (1 - settings.momentum) * (cos(pi * step / 10) + 1) / 2
        expected = share * expected + (1 - share) * weight.detach()
        model.follow()
        torch.testing.assert_close(teacher, expected)


def test_spread_is_1_where_even_and_0_where_collapsed() -> None:
    torch.manual_seed(0)
    assert spread(torch.randn(5000, 64)) == pytest.approx(1, abs=0.02)
    assert spread(torch.randn(1, 64) * torch.rand(50, 1)) == pytest.approx(0, abs=1e-3)
    assert spread(torch.randn(5000, 64) + 5) < 0.3


@pytest.mark.parametrize(("value", "warns"), [(0.0, True), (0.6, False)])
def test_collapse_is_warned_of_with_a_remedy(make_context, monkeypatch, value, warns) -> None:
    monkeypatch.setattr("nnunet_mgcl.pretraining.monitor.spread.spread", lambda _: torch.tensor(value))
    context = make_context(mgcl=TINY)
    SimSiam().run(context.without_labels())
    (warning,) = context.warnings.of("simsiam", "A") or [None]
    assert (warning is not None) == warns
    assert not warns or "simsiam.lr=0.001" in warning.remedy


def test_a_single_crop_a_batch_is_refused(make_context) -> None:
    with pytest.raises(UserError, match="two crops at least"):
        make_context(mgcl={"simclr": {"batch_size": 1}})


def test_a_head_sees_every_level_and_normalises_over_the_batch() -> None:
    torch.manual_seed(0)
    head = CropProjection([3, 5], [4, 6], last_norm=True)
    maps = [torch.randn(7, 3, 8, 8), torch.randn(7, 5, 4, 4)]
    out = head(maps)
    assert out.shape == (7, 6)
    torch.testing.assert_close(out.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    for level in (0, 1):
        other = [own.clone() for own in maps]
        other[level][0, 0, 1, 1] += 9
        assert not torch.equal(head(other), out)


def test_regions_are_drawn_where_the_image_is_not_constant() -> None:
    torch.manual_seed(0)
    images = torch.zeros(2, 1, 30, 30)
    images[:, :, :15] = torch.randn(2, 1, 15, 30)
    chosen = draw_regions(images, 13)
    assert all(len(set(own.tolist())) == 13 for own in chosen) and chosen.max() < 50  # 5 of 10 rows of regions
    assert draw_regions(images, 60).shape == (2, 60)
    means = region_means(torch.arange(81.0).view(1, 1, 9, 9))
    assert means.shape == (1, 1, 9) and means[0, 0, 4] == 40


def test_regions_of_other_images_do_not_matter() -> None:
    torch.manual_seed(0)
    copies = torch.randn(2, 3, 5, 4)
    alone = region_loss(copies[:, :1], 0.1)
    copies[:, 1:] = copies[:, 1:] * 3 + nn.functional.normalize(torch.randn(2, 2, 5, 4), dim=-1)
    assert torch.equal(region_loss(copies[:, :1], 0.1), alone)
