from __future__ import annotations

import pytest
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunet_mgcl.data.cases.modality_dataset import PoolCase
from nnunet_mgcl.data.pool.manifest import Manifest
from nnunet_mgcl.engine.datasets import labelled_and_pool_dataset, labelled_dataset, pool_dataset
from nnunet_mgcl.engine.loading import Sampling, Views, apart, count_samples, iterations_per_epoch, open_batches
from nnunet_mgcl.system.errors import UserError


@pytest.mark.parametrize(("dimensions", "samples"), [(2, 16), (3, 4)])
def test_an_epoch_is_one_pass_over_the_slices_or_volumes(make_context, dimensions, samples) -> None:
    context = make_context(dimensions)
    dataset = labelled_dataset(context, context.branches[0])
    assert count_samples(context, dataset) == samples
    assert iterations_per_epoch(context, dataset, samples) == 1
    assert iterations_per_epoch(context, dataset, samples - 1) == 2
    context.world_size = 2
    assert iterations_per_epoch(context, dataset, samples // 4) == 2


@pytest.mark.parametrize(("dimensions", "plane"), [(2, (32, 32)), (3, (4, 32, 32))])
def test_batches_hold_the_branch_s_channels_masks_and_cases(make_context, dimensions, plane) -> None:
    context = make_context(dimensions)
    branch = context.branches[0]
    with open_batches(context, branch, labelled_dataset(context, branch), 3, Sampling()) as batches:
        batch = next(batches)
    assert batch["data"].shape == (3, 2, *plane)
    assert batch["target"].shape == (3, 1, *plane)
    assert set(batch["target"].unique().tolist()) <= {0, 1}  # -1 is removed
    assert set(batch["keys"]) <= set(context.train_cases)


def test_a_third_of_the_samples_is_forced_to_show_a_lesion(make_context) -> None:
    context = make_context()
    branch = context.branches[0]
    torch.manual_seed(0)
    with open_batches(context, branch, labelled_dataset(context, branch), 6, Sampling()) as batches:
        for _ in range(5):
            assert (next(batches)["target"][4:] == 1).flatten(1).any(1).all()


@pytest.mark.parametrize(("region_targets", "channels"), [(True, 2), (False, 1)])
def test_regions_become_channels_only_where_they_are_asked_for(make_context, region_targets, channels) -> None:
    context = make_context(labels="regions")
    branch = context.branches[0]
    with open_batches(
        context, branch, labelled_dataset(context, branch), 2, Sampling(regions=region_targets)
    ) as batches:
        assert next(batches)["target"].shape == (2, channels, 32, 32)


def test_views_of_a_crop_are_augmented_each_by_itself_and_come_apart_again(make_context) -> None:
    context = make_context()
    branch, run = context.branches[0], context.without_labels()
    with open_batches(run, branch, labelled_dataset(context, branch), 3, Sampling(labels=False, views=2)) as batches:
        batch = next(batches)
    views = apart(batch["data"], 2)
    assert views.shape == (2, 3, 2, 32, 32) and batch["target"].shape == (3, 2, 32, 32)
    assert not torch.equal(views[0], views[1])
    plain = Views(lambda image, segmentation: {"image": image, "segmentation": segmentation}, 2)
    image = torch.randn(2, 4, 4)
    stacked = plain(image=image, segmentation=torch.zeros(1, 4, 4))["image"]
    assert torch.equal(apart(stacked[None], 2), torch.stack([image, image])[:, None])


def test_a_method_s_own_loader_chooses_what_is_drawn(make_context) -> None:
    class FirstCase(nnUNetDataLoader):
        """Composes batches of its own, and says more of them than nnU-Net's."""

        def get_indices(self):
            return [self.indices[0]] * self.batch_size

        def generate_train_batch(self):
            return super().generate_train_batch() | {"position": [0] * self.batch_size}

    context = make_context()
    branch = context.branches[0]
    with open_batches(context, branch, labelled_dataset(context, branch), 3, Sampling(loader=FirstCase)) as batches:
        batch = next(batches)
    assert set(batch["keys"]) == {"case_0"} and batch["position"] == [0] * 3


@pytest.mark.parametrize("processes", ["0", "1"])
def test_damaged_pool_case_ends_with_its_name_also_from_a_worker(make_context, monkeypatch, processes) -> None:
    monkeypatch.setenv("nnUNet_n_proc_DA", processes)
    context = make_context()
    branch = context.branches[0]
    for source in context.pool_sources(branch, context.pool["A"], None):
        (source.images / f"{source.case}.b2nd").write_bytes(b"half")
    sampling = Sampling(labels=False)
    with (
        pytest.raises(UserError, match=r"A/pool_\d\n +found: +cannot be read[\s\S]*mgcl prepare"),
        open_batches(context, branch, pool_dataset(context, branch), 2, sampling) as batches,
    ):
        next(batches)


def test_slices_of_the_pool_are_those_noted_and_no_case_is_opened(make_context, monkeypatch) -> None:
    context = make_context()
    branch = context.branches[0]
    dataset = pool_dataset(context, branch)
    assert count_samples(context, dataset) == 8  # nothing noted: opened
    with Manifest(context.dataset_layout.unlabelled("nnUNetPlans_2d"), writes=True) as manifest:
        manifest.begin("A", {})
        for case, slices in {"pool_0": 5, "pool_1": 7}.items():
            manifest.add("A", case, [{"name": case, "sha256": case}], slices)
        manifest.save()
    monkeypatch.setattr(PoolCase, "load", lambda _: pytest.fail("opened"))
    assert count_samples(context, dataset) == 12
    assert count_samples(context, labelled_and_pool_dataset(context, branch, ["pool_1"], 1)) == 16 + 7
