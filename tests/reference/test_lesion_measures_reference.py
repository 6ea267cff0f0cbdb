"""The measures of docs/method.md, "The lesion head", derived anew with plain loops in float64."""

from __future__ import annotations

from math import log

import pytest
import torch

from nnunet_mgcl.network.lesion_measures import lesion_measures, lesion_tokens

CHANNELS = [[0, 2], [1]]
SHAPE = (3, 4, 5)  # slices, rows, columns


def measures(volume: list, lesions: list, valid: list[bool]) -> list[float]:
    """One case: channels and modalities as nested lists over z, y, x."""
    places = [(z, y, x) for z in range(SHAPE[0]) if valid[z] for y in range(SHAPE[1]) for x in range(SHAPE[2])]

    def at(array: list, place: tuple[int, int, int]) -> float:
        z, y, x = place
        return array[z][y][x]

    weights = [{place: at(lesion, place) ** 2 for place in places} for lesion in lesions]
    union = {place: max(weight[place] for weight in weights) for place in places}
    shares = [log((sum(weight.values()) + 1) / (sum(union.values()) + 1)) for weight in weights]
    contrasts = []
    for weight, own in zip(weights, CHANNELS, strict=True):
        for channel in own:
            image = {place: at(volume[channel], place) for place in places}
            mean = sum(image.values()) / len(image)
            tissue = {place: 1 - union[place] for place in places if image[place] > mean}
            outside = sum(image[place] * part for place, part in tissue.items()) / sum(tissue.values())
            difference = sum((image[place] - outside) * weight[place] for place in places)
            contrasts.append(difference / (sum(weight.values()) + 1))
    return shares + contrasts


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two cases, the second with a padded slice that holds nonsense."""
    generator = torch.Generator().manual_seed(0)
    volumes = torch.randn(2, 3, *SHAPE, generator=generator)
    lesions = torch.rand(2, 2, *SHAPE, generator=generator) ** 4
    valid = torch.tensor([[True, True, True], [True, True, False]])
    volumes[1, :, 2], lesions[1, :, 2] = 1e4, 1
    return volumes, lesions, valid


def test_measures_are_those_of_the_loops(case) -> None:
    volumes, lesions, valid = case
    expected = [measures(v, p, own) for v, p, own in zip(*(t.tolist() for t in case), strict=True)]
    found = lesion_measures(volumes, lesions, valid, CHANNELS)
    assert found.shape == (2, 2 + 3)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_missing_lesion_is_small_and_does_not_differ_from_tissue(case) -> None:
    volumes, lesions, valid = case
    lesions[:, 1] = 1e-4
    found = lesion_measures(volumes, lesions, valid, CHANNELS)
    assert (found[:, 1] < found[:, 0] - 0.3).all()
    assert found[:, 4].abs().max() < 1e-5  # channel 1 is the second modality's
    empty = lesion_measures(volumes, torch.zeros_like(lesions), valid, CHANNELS)
    assert empty.eq(0).all()


def test_one_lesion_for_all_modalities_leaves_the_contrasts(case) -> None:
    volumes, lesions, valid = case
    shared = lesions[:, :1].expand(-1, 2, *SHAPE)
    found = lesion_measures(volumes, shared, valid, CHANNELS)
    assert found[:, :2].eq(0).all() and found[:, 2:].ne(0).all()


def test_background_of_small_probabilities_adds_up_to_nothing() -> None:
    """A million voxels at 1e-4 would be a lesion of a hundred voxels."""
    lesions = torch.full((1, 1, 10, 320, 320), 1e-4)
    lesions[0, 0, 5, :10, :10] = 1
    volumes, valid = torch.zeros_like(lesions), torch.ones(1, 10, dtype=torch.bool)
    volumes[lesions == 1] = 2
    assert lesion_measures(volumes, lesions, valid, [[0]])[0, 1] == pytest.approx(2 * 100 / 101, rel=1e-3)


def test_tokens_are_the_lesion_s_shares_of_cells() -> None:
    lesions = torch.zeros(1, 2, 4, 6, 6)
    lesions[0, 1, 0:2, 0:3, 0:1] = 1
    tokens = lesion_tokens(lesions, 2, 2, 2)
    assert tokens.shape == (1, 4, 2, 2)
    assert tokens[0, 2].tolist() == [[pytest.approx(1 / 3), 0], [0, 0]]
    assert tokens.sum() == tokens[0, 2].sum()
