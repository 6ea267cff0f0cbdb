from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.losses import IGNORE_INDEX, patch_labels, slab_labels, slice_labels, thin_negatives

IGNORED = 9


def test_slice_is_positive_with_one_lesion_voxel_of_any_label() -> None:
    mask = torch.zeros(4, 1, 5, 6)
    mask[0, 0, 4, 5] = 1
    mask[1, 0, 0, 0] = 7
    mask[3] = -1
    labels = slice_labels(mask)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [1, 1, 0, 0]


def test_slice_without_annotated_voxels_is_ignored() -> None:
    mask = torch.full((4, 1, 3, 3), IGNORED)
    mask[0, 0, 0, 0] = 0
    mask[1, 0, 0, 0] = 1
    assert slice_labels(mask, IGNORED).tolist() == [0, 1, IGNORE_INDEX, IGNORE_INDEX]
    assert slice_labels(mask).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("depth", [1, 4, 7, 10])
@pytest.mark.parametrize("positions", [1, 3, 4])
def test_slabs_are_the_bins_of_adaptive_pooling(depth: int, positions: int) -> None:
    for z in range(depth):
        mask = torch.zeros(1, 1, depth, 4, 4)
        mask[0, 0, z, 2, 1] = 1
        expected = [int(p * depth // positions <= z < -(-(p + 1) * depth // positions)) for p in range(positions)]
        assert slab_labels(mask, positions).tolist() == [expected]


def test_slab_is_ignored_only_where_nothing_in_it_is_annotated() -> None:
    mask = torch.full((1, 1, 6, 2, 2), IGNORED)
    mask[0, 0, 1, 0, 0] = 0
    mask[0, 0, 4, 1, 1] = 2
    assert slab_labels(mask, 3, IGNORED).tolist() == [[0, IGNORE_INDEX, 1]]


@pytest.mark.parametrize("voxels", [10, 30, 60, 70, 230])
def test_share_equal_to_the_threshold_is_positive(voxels: int) -> None:
    mask = torch.full((1, 1, 16, 16), IGNORED)
    mask.view(-1)[:voxels] = 0
    mask.view(-1)[: voxels // 10] = 1
    assert patch_labels(mask, 16, 0.1, IGNORED).tolist() == [[1]]
    mask.view(-1)[0] = 0
    assert patch_labels(mask, 16, 0.1, IGNORED).tolist() == [[0]]


@pytest.mark.parametrize("threshold", [0, -0.1])
def test_threshold_that_makes_every_patch_positive_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        patch_labels(torch.zeros(1, 1, 4, 4), 2, threshold)


@pytest.mark.parametrize(("ratio", "left"), [(3.0, 9), (0.5, 2), (100, 40), (0.01, 1)])
def test_negatives_are_thinned_to_a_ratio_and_nothing_else_changes(ratio: float, left: int) -> None:
    labels = torch.tensor([0] * 20 + [1, IGNORE_INDEX, 1, 1] + [0] * 20)
    thinned = thin_negatives(labels, ratio)
    assert (thinned == 0).sum() == left
    assert torch.equal(thinned == 1, labels == 1)
    assert bool((thinned[labels == IGNORE_INDEX] == IGNORE_INDEX).all())


def test_which_negatives_stay_is_drawn_anew() -> None:
    labels = torch.tensor([1, 1] + [0] * 50)
    kept = torch.stack([thin_negatives(labels, 1.0) == 0 for _ in range(200)]).float().mean(0)
    assert kept[2:].min() > 0 and kept[2:].max() < 0.2


def test_a_batch_without_positives_stays_whole() -> None:
    assert torch.equal(thin_negatives(torch.zeros(5, dtype=torch.int64), 3.0), torch.zeros(5, dtype=torch.int64))
