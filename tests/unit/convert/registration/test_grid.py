"""Grids: when two are the same, what a new one covers, and what resampling does to values."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert.registration.grid import Grid, common_grid, resample, resample_mask, same_grid

IDENTITY = sitk.Transform(3, sitk.sitkIdentity)
UPRIGHT = tuple(np.eye(3).ravel().tolist())
OBLIQUE = sitk.VersorRigid3DTransform((0.1, 0.2, 0.05, 0.95)).GetMatrix()


def image(array: np.ndarray, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=UPRIGHT) -> sitk.Image:
    return Grid(array.shape[::-1], spacing, origin, direction).image(array)


def noise(shape=(6, 9, 8), **header) -> sitk.Image:
    return image(np.random.default_rng(0).normal(100, 20, shape).astype(np.float32), **header)


def test_a_wanted_spacing_covers_the_same_field_of_view():
    scan = noise((6, 9, 8), spacing=(0.5, 2.0, 5.0), origin=(-20.0, 30.0, 4.0), direction=OBLIQUE)
    assert common_grid(scan, None) == Grid.of(scan)
    grid = common_grid(scan, (1.0, 1.0, 6.0))
    assert grid.size == (4, 18, 5)
    ends = np.array(list(np.ndindex(2, 2, 2)))  # the edges of the outermost voxels
    corners, before = (g.point(ends * g.size - 0.5) for g in (grid, Grid.of(scan)))
    np.testing.assert_allclose(corners, before, atol=1e-9)

    scan = noise((7, 9, 8), spacing=(0.5, 2.0, 5.0), direction=OBLIQUE)  # no multiple of the spacing: it stays centred
    grid = common_grid(scan, (1.0, 1.0, 6.0))
    assert grid.size[2] == 6
    np.testing.assert_allclose(grid.centre, Grid.of(scan).centre, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"origin": (1e-4, 0.0, 0.0)}, True),
        ({"spacing": (0.50001, 2.0, 5.0)}, True),
        ({"origin": (0.25, 0.0, 0.0)}, False),
        ({"spacing": (0.51, 2.0, 5.0)}, False),
        ({"direction": OBLIQUE}, False),
        ({"shape": (6, 9, 7)}, False),
    ],
)
def test_grids_are_the_same_but_for_rounding(change, same):
    header = {"shape": (6, 9, 8), "spacing": (0.5, 2.0, 5.0), "origin": (0.0, 0.0, 0.0)}
    assert same_grid(noise(**header), noise(**header | change)) is same


def test_an_image_on_the_grid_is_left_untouched_and_gets_exactly_its_header():
    scan = image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), origin=(1e-5, 0.0, 0.0))
    grid = Grid((6, 5, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    moved = resample(scan, grid, IDENTITY, interpolation="bspline")
    assert moved.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(sitk.GetArrayFromImage(moved), sitk.GetArrayFromImage(scan))
    assert Grid.of(moved) == grid


def test_the_transform_leads_from_the_grid_to_the_image():
    scan = noise()
    moved = resample(scan, Grid.of(scan), sitk.TranslationTransform(3, (2.0, 0.0, -1.0)), interpolation="linear")
    old, new = sitk.GetArrayFromImage(scan), sitk.GetArrayFromImage(moved)
    np.testing.assert_allclose(new[1:, :, :-2], old[:-1, :, 2:], rtol=1e-5)


def test_what_lies_outside_the_images_view_is_air():
    scan = noise()
    away = sitk.TranslationTransform(3, (4.0, 0.0, 0.0))
    signed = sitk.GetArrayFromImage(resample(scan - 100, Grid.of(scan), away, interpolation="linear"))
    assert (signed[:, :, -3:] == 0).all() and (signed[:, :, :3] != 0).any()
    positive = sitk.GetArrayFromImage(resample(scan, Grid.of(scan), away, interpolation="linear"))
    np.testing.assert_allclose(positive[:, :, -3:], sitk.GetArrayFromImage(scan).min())  # 0 never occurs in this image


@pytest.mark.parametrize("axis", range(3))
def test_fine_stripes_average_out_on_a_coarser_grid(axis):
    """Without a blur a grid of every third voxel would show stripes three times too wide."""
    stripes = np.indices((24, 24, 24))[2 - axis] % 4 < 2
    scan = image((stripes * 100).astype(np.float32))
    spacing = tuple(6.0 if along == axis else 1.0 for along in range(3))
    values = sitk.GetArrayFromImage(resample(scan, common_grid(scan, spacing), IDENTITY, interpolation="linear"))
    np.testing.assert_allclose(values.swapaxes(0, 2 - axis)[1:-1], 50, atol=10)


def test_axes_that_do_not_get_coarser_are_not_blurred_however_the_scan_is_stored():
    """Slices along x (sagittal) brought to thick slices along z: only z may be blurred."""
    values = np.zeros((24, 24, 24), np.float32)
    values[:, 12, 12] = 100  # a line along z
    axial = image(values)
    stored = sitk.PermuteAxes(axial, (2, 0, 1))
    grid = common_grid(axial, (1.0, 1.0, 6.0))
    expected = np.zeros((4, 24, 24))
    expected[:, 12, 12] = 100
    for scan in (axial, stored):
        moved = sitk.GetArrayFromImage(resample(scan, grid, IDENTITY, interpolation="linear"))
        np.testing.assert_allclose(moved, expected, atol=1e-3)


def test_a_spline_does_not_leave_the_images_range():
    step = np.zeros((8, 8, 8), np.float32)
    step[:, :, 4:] = 1000
    shift = sitk.TranslationTransform(3, (0.3, 0.0, 0.0))
    values = sitk.GetArrayFromImage(resample(image(step), Grid.of(image(step)), shift, interpolation="bspline"))
    assert values.min() >= 0 and values.max() <= 1000
    assert len(np.unique(values.round())) > 3  # and it did interpolate


def test_a_mask_keeps_its_labels_and_moves_with_its_image():
    labels = np.zeros((6, 9, 8), np.uint8)
    labels[2:4, 3:6, 2:4], labels[2:4, 3:6, 4:6] = 3, 7
    mask = image(labels)
    shift = sitk.TranslationTransform(3, (1.3, 0.0, 0.0))
    moved = sitk.GetArrayFromImage(resample_mask(mask, Grid.of(mask), shift))
    assert moved.dtype == np.uint8
    np.testing.assert_array_equal(moved[:, :, :-1], labels[:, :, 1:])
    assert not moved[:, :, -1].any()
