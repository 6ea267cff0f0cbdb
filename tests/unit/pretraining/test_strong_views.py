from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.pretraining.strong_views import cut_mix, perturb

SHAPES = [(16, 2, 20, 24), (16, 2, 3, 20, 24)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_box_of_the_neighbour_goes_into_image_and_target_alike(shape) -> None:
    torch.manual_seed(0)
    numbers = torch.arange(16.0).view(-1, *[1] * (len(shape) - 1)).expand(shape)
    images, targets = cut_mix(numbers.clone(), numbers[:, :1].clone())
    assert torch.equal(images[:, :1], targets)
    mixed = 0
    for index, (sample, before) in enumerate(zip(images, numbers, strict=True)):
        foreign = (sample != before)[0].flatten(0, -3)[0] if len(shape) == 5 else (sample != before)[0]
        if foreign.any():
            mixed += 1
            rows, columns = foreign.any(1).nonzero()[:, 0], foreign.any(0).nonzero()[:, 0]
            box = foreign[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert bool(box.all()) and 0.05 < foreign.float().mean() < 0.45
            assert set(sample[sample != before].tolist()) == {float(index - 1) % 16}
    assert 3 <= mixed <= 13


@pytest.mark.parametrize("shape", SHAPES)
def test_perturbed_images_differ_from_each_other_but_still_show_what_they_show(shape) -> None:
    torch.manual_seed(0)
    images = torch.zeros(shape)
    images[..., 5:12, 6:14] = 3.0
    changed = perturb(images)
    inside, outside = changed[..., 6:11, 7:13].flatten(2).mean(2), changed[..., 14:, 16:].flatten(2).mean(2)
    assert bool((inside - outside > 1.5).all())
    assert len(set(inside.flatten().tolist())) == 32  # every sample and channel by itself
    assert torch.equal(images.unique(), torch.tensor([0.0, 3.0]))  # nothing is changed in place
