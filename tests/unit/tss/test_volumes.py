from __future__ import annotations

import math

import pytest
import torch

from nnunet_mgcl.plan.config import TSSConfig
from nnunet_mgcl.tss.volumes import (
    MAX_ROTATION,
    ZOOM,
    apply_transform,
    augment_volume,
    draw_transform,
    fit_volume,
)

GEOMETRY = TSSConfig(slices=6, size=[20, 16])


class TestFitVolume:
    def test_volume_of_the_right_size_is_untouched(self):
        volume = torch.randn(2, 6, 20, 16)
        fitted, valid = fit_volume(volume, GEOMETRY)
        assert torch.equal(fitted, volume)
        assert valid.tolist() == [True] * 6

    def test_small_volume_is_centred_and_padded_with_zeros_at_the_end(self):
        volume = torch.randn(1, 4, 10, 9)
        fitted, valid = fit_volume(volume, GEOMETRY)
        assert torch.equal(fitted[:, :4, 5:15, 3:12], volume)
        assert (fitted != 0).sum() == volume.numel()
        assert valid.tolist() == [True] * 4 + [False] * 2

    @pytest.mark.parametrize(("rows", "columns"), [(40, 16), (20, 64), (200, 15), (50, 50), (21, 17)])
    def test_large_slice_is_scaled_into_the_frame_not_cropped(self, rows, columns):
        volume = torch.ones(1, 6, rows, columns)
        fitted, _ = fit_volume(volume, GEOMETRY)
        assert fitted.shape == (1, 6, 20, 16)
        inside = fitted[0, 0] > 0
        height, width = int(inside.any(1).sum()), int(inside.any(0).sum())
        scale = min(20 / rows, 16 / columns)
        assert abs(height - rows * scale) <= 1 and abs(width - columns * scale) <= 1
        assert torch.allclose(fitted[0, 0][inside], torch.ones(()))

    def test_scaling_down_averages_instead_of_picking_voxels(self):
        noise = torch.randn(1, 6, 80, 64, generator=torch.Generator().manual_seed(0))
        fitted, _ = fit_volume(noise, GEOMETRY)
        assert fitted.std() < 0.3  # picking gives 1, plain bilinear 0.5, averages over 4 x 4 voxels less

    def test_too_many_slices_are_resampled_and_all_valid(self):
        ramp = torch.arange(12.0).view(1, 12, 1, 1).expand(1, 12, 20, 16)
        fitted, valid = fit_volume(ramp, GEOMETRY)
        values = fitted[0, :, 0, 0]
        assert torch.allclose(values[1:-1], torch.tensor([2.5, 4.5, 6.5, 8.5]))
        assert (values.diff() > 0).all()
        assert valid.tolist() == [True] * 6

    def test_channels_and_order_of_slices_survive_resampling(self):
        volume = torch.stack([torch.zeros(9, 30, 30), torch.arange(9.0)[:, None, None].expand(9, 30, 30)])
        fitted, _ = fit_volume(volume, GEOMETRY)
        assert (fitted[0] == 0).all()
        assert (fitted[1, :, 10, 8].diff() > 0).all()


class TestAugmentVolume:
    def test_same_generator_state_same_result(self):
        volume = torch.randn(2, 3, 20, 16)
        first, second = (augment_volume(volume, torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(first, second)
        assert not torch.equal(first, augment_volume(volume, torch.Generator().manual_seed(4)))

    def test_all_slices_and_channels_move_together(self):
        plane = torch.randn(20, 16)
        moved = augment_volume(plane.expand(2, 3, 20, 16), torch.Generator().manual_seed(0))
        assert torch.equal(moved, moved[:1, :1].expand_as(moved))

    def test_drawn_transforms_stay_in_range_and_flip_both_ways(self):
        generator = torch.Generator().manual_seed(0)
        signs = set()
        for _ in range(200):
            linear = draw_transform(generator)[:, :2]
            determinant = float(torch.linalg.det(linear))
            assert 1 / ZOOM[1] - 1e-5 <= math.sqrt(abs(determinant)) <= 1 / ZOOM[0] + 1e-5
            flips = linear.sign().diagonal()
            angle = math.atan2(float(linear[1, 0] * flips[0]), float(linear[0, 0] * flips[0]))
            assert abs(angle) <= MAX_ROTATION + 1e-6
            signs.add(tuple(flips.tolist()))
        assert signs == {(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)}

    def test_identity(self):
        volume = torch.randn(2, 3, 20, 16)
        assert torch.allclose(apply_transform(volume, torch.eye(2, 3)), volume, atol=1e-5)

    def test_flip_is_exact(self):
        volume = torch.randn(2, 3, 20, 16)
        mirrored = apply_transform(volume, torch.tensor([[-1.0, 0, 0], [0, 1.0, 0]]))
        assert torch.allclose(mirrored, volume.flip(-1), atol=1e-5)

    def test_rotation_does_not_shear_a_slice_that_is_not_square(self):
        volume = torch.zeros(1, 1, 31, 61)
        volume[0, 0, 15, 40] = 1  # 10 voxels right of the centre
        quarter = torch.tensor([[0.0, 1.0, 0], [-1.0, 0.0, 0]])
        moved = apply_transform(volume, quarter)[0, 0]
        assert moved.flatten().argmax() in (5 * 61 + 30, 25 * 61 + 30)  # 10 voxels above or below it
        assert moved.max() > 0.99
