from __future__ import annotations

import pytest

from nnunet_mgcl.network.feature_level import FeatureLevel, choose_level

PLANE = [[1, 1], [2, 2], [2, 2], [2, 2], [2, 2]]
VOLUME = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((128, 128), FeatureLevel(4, 9, 8, 8)),
        ((127, 128), FeatureLevel(4, 9, 8, 8)),  # strided convolutions round up
        ((112, 128), FeatureLevel(3, 9, 14, 16)),  # 7 x 8 would be too small
        ((64, 256), FeatureLevel(3, 9, 8, 32)),  # the smaller side decides
        ((256, 64), FeatureLevel(3, 9, 32, 8)),
        ((8, 8), FeatureLevel(0, 9, 8, 8)),
    ],
)
def test_deepest_level_whose_smaller_side_is_at_least_eight(size, expected) -> None:
    assert choose_level(PLANE, 9, size) == expected


def test_map_that_is_too_small_from_the_start_is_read_at_full_resolution() -> None:
    assert choose_level(PLANE, 3, (7, 100)) == FeatureLevel(0, 3, 7, 100)


def test_anisotropic_pooling_counts_each_axis() -> None:
    assert choose_level([[1, 1], [2, 1], [2, 2]], 5, (40, 20)) == FeatureLevel(2, 5, 10, 10)


@pytest.mark.parametrize(("slices", "positions"), [(16, 4), (13, 4), (12, 3), (3, 1)])
def test_positions_in_3d_are_the_slices_left_after_pooling(slices, positions) -> None:
    assert choose_level(VOLUME, slices, (64, 64)) == FeatureLevel(3, positions, 8, 8)


def test_pooling_below_the_chosen_level_does_not_count() -> None:
    assert choose_level(VOLUME, 12, (32, 32)) == FeatureLevel(2, 6, 8, 8)
