from __future__ import annotations

import numpy as np
import pytest
import torch
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from torch import nn

from nnunet_mgcl.report.analysis.attention import region_numbers
from nnunet_mgcl.report.analysis.eigencam import eigencam
from nnunet_mgcl.report.analysis.perception import Window, _resampled, perception_maps

CPU = torch.device("cpu")


def lesion_at(shape: tuple[int, int, int], *corner: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(start, start + 2) for start in corner)] = True
    return mask


class Identity(nn.Module):
    """An encoder of one stage, whose activations are the absolute input."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x.abs()]


def encoder(dimensions: int, strides: list) -> PlainConvEncoder:
    """Without normalisation, which would let every cell look at everything, and with positive weights."""
    conv = nn.Conv2d if dimensions == 2 else nn.Conv3d
    torch.manual_seed(0)
    built = PlainConvEncoder(1, len(strides), 4, conv, 3, strides, 1, nonlin=nn.LeakyReLU, return_skips=True)
    for parameter in built.parameters():
        nn.init.uniform_(parameter, 0.1, 1)
    return built


class TestWindow:
    @pytest.mark.parametrize(
        ("shape", "corner", "patch", "box"),
        [
            ((5, 20, 20), (2, 9, 9), (8, 8), ((0, 5), (6, 14), (6, 14))),
            ((5, 20, 20), (0, 0, 18), (8, 8), ((0, 5), (0, 8), (12, 20))),
            ((5, 7, 20), (2, 3, 9), (10, 8), ((0, 5), (-1, 9), (6, 14))),
            ((9, 20, 20), (7, 9, 9), (4, 8, 8), ((5, 9), (6, 14), (6, 14))),
            ((2, 20, 20), (0, 9, 9), (4, 8, 8), ((-1, 3), (6, 14), (6, 14))),
        ],
        ids=["around the lesion", "moved inside", "padded", "3d", "3d padded"],
    )
    def test_patch_lies_around_the_lesion(self, shape, corner, patch, box):
        assert Window.around(lesion_at(shape, *corner), (corner[0],), patch).box == box

    def test_without_a_lesion_it_is_in_the_middle(self):
        assert Window.around(np.zeros((5, 20, 30), bool), (2,), (8, 8)).box == ((0, 5), (6, 14), (11, 19))

    def test_slices_beyond_it_are_left_out(self):
        window = Window.around(lesion_at((9, 8, 8), 4, 3, 3), tuple(range(9)), (4, 8, 8))
        assert window.slices == (3, 4, 5, 6) and window.numbers == [0, 1, 2, 3]

    @pytest.mark.parametrize("patch", [(8, 8), (32, 24), (8, 24), (4, 8, 24), (16, 32, 8)], ids=str)
    def test_maps_lie_over_what_was_read(self, patch):
        image = np.random.default_rng(0).random((1, 9, 20, 21)).astype(np.float32)
        window = Window.around(lesion_at(image.shape[1:], 5, 12, 3), (4, 6), patch)
        read = window.read(image)
        assert read.shape[-2:] == patch[-2:]
        np.testing.assert_array_equal(window.trim(read[0, window.numbers]), window.cut(image[0]))


@pytest.mark.parametrize(
    ("is_3d", "patch"), [(False, (8, 8)), (False, (24, 24)), (True, (4, 8, 24)), (True, (16, 24, 24))]
)
def test_map_of_a_stage_that_copies_the_input_is_the_input(is_3d, patch):
    image = np.random.default_rng(0).normal(size=(1, 9, 20, 21)).astype(np.float32)
    window = Window.around(lesion_at(image.shape[1:], 5, 12, 3), (4, 5), patch)
    (own,) = perception_maps(Identity(), image, window, is_3d, 1, CPU)
    np.testing.assert_allclose(own, np.abs(window.cut(image[0])), rtol=1e-6)


def test_slices_of_a_2d_encoder_share_one_component_whatever_passes_together():
    image = np.random.default_rng(0).normal(size=(1, 6, 16, 16)).astype(np.float32)
    window = Window.around(lesion_at(image.shape[1:], 1, 5, 5), (1, 2, 4), (16, 16))
    own = encoder(2, [1, 2])
    together = perception_maps(own, image, window, False, 3, CPU)
    for first, second in zip(together, perception_maps(own, image, window, False, 1, CPU), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)
    with torch.no_grad():
        expected = eigencam(own(torch.from_numpy(image[0, [1, 2, 4], None]))[0])
    np.testing.assert_allclose(together[0], expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(("dimensions", "strides"), [(2, [1, 2, 2, 2]), (3, [1, [1, 2, 2], 2])], ids=["2d", "3d"])
def test_cells_are_drawn_in_the_middle_of_what_they_look_at(dimensions, strides):
    shape = (48, 40) if dimensions == 2 else (12, 24, 20)
    x = torch.zeros(1, 1, *shape, requires_grad=True)
    for stage in encoder(dimensions, strides)(x):
        cell = tuple(side // 2 for side in stage.shape[2:])  # far from the borders
        (gradient,) = torch.autograd.grad(stage[(0, slice(None), *cell)].sum(), x, retain_graph=True)
        seen = gradient[0, 0].nonzero().float()
        lit = torch.zeros(1, *stage.shape[2:])
        lit[(0, *cell)] = 1
        drawn = _resampled(lit, shape)
        middle = (seen.amin(dim=0) + seen.amax(dim=0)) / 2
        assert drawn.shape == (1, *shape)
        assert (drawn[0] == drawn.max()).nonzero().tolist() == [middle.tolist()]


@pytest.mark.parametrize("grid", [2, 4])
def test_regions_are_drawn_where_their_cells_look(grid):
    size, strides = (64, 96), [1, 2, 2]
    x = torch.zeros(1, 1, *size, requires_grad=True)
    deepest = encoder(2, strides)(x)[-1]
    cells = tuple(deepest.shape[2:])
    numbers = region_numbers(size, (4, 4), cells, grid)
    assert sorted(np.unique(numbers)) == list(range(grid**2))
    rows, columns = cells[0] // grid, cells[1] // grid
    for region in range(grid**2):
        row, column = divmod(region, grid)
        if 0 in (row, column) or grid - 1 in (row, column):
            continue  # at the border of the image the convolutions' padding cuts off what would be seen
        part = deepest[0, :, row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]
        (gradient,) = torch.autograd.grad(part.sum(), x, retain_graph=True)
        seen, drawn = gradient[0, 0].nonzero().float(), torch.from_numpy(np.argwhere(numbers == region)).float()
        middle = (seen.amin(dim=0) + seen.amax(dim=0)) / 2
        assert ((drawn.amin(dim=0) + drawn.amax(dim=0)) / 2 - middle).abs().max() <= 0.5
        assert (np.ptp(drawn.numpy(), axis=0) + 1).tolist() == [rows * 4, columns * 4]
