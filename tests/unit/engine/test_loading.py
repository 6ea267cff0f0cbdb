from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.engine.datasets import labelled_dataset
from nnunet_mgcl.engine.loading import count_samples, iterations_per_epoch, open_batches


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
    with open_batches(context, branch, labelled_dataset(context, branch), 3, region_targets=False) as batches:
        batch = next(batches)
    assert batch["data"].shape == (3, 2, *plane)
    assert batch["target"].shape == (3, 1, *plane)
    assert set(batch["target"].unique().tolist()) <= {0, 1}  # -1 is removed
    assert set(batch["keys"]) <= set(context.train_cases)


def test_a_third_of_the_samples_is_forced_to_show_a_lesion(make_context) -> None:
    context = make_context()
    branch = context.branches[0]
    torch.manual_seed(0)
    with open_batches(context, branch, labelled_dataset(context, branch), 6, region_targets=False) as batches:
        for _ in range(5):
            assert (next(batches)["target"][4:] == 1).flatten(1).any(1).all()


@pytest.mark.parametrize(("region_targets", "channels"), [(True, 2), (False, 1)])
def test_regions_become_channels_only_where_they_are_asked_for(make_context, region_targets, channels) -> None:
    context = make_context(labels="regions")
    branch = context.branches[0]
    with open_batches(context, branch, labelled_dataset(context, branch), 2, region_targets=region_targets) as batches:
        assert next(batches)["target"].shape == (2, channels, 32, 32)
