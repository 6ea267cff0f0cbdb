from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from nnunet_mgcl.phantom.brain.anatomy import draw_head
from nnunet_mgcl.phantom.brain.scan import Grid, Pose

GRID = Grid.covering(48, 18)


def head(seed=0, **changes):
    return replace(draw_head(np.random.default_rng(seed)), **changes)


@pytest.fixture(scope="module")
def anatomy():
    return head().sample(GRID)


def brain_ml(anatomy):
    return float(anatomy.brain.sum()) * anatomy.grid.thin().voxel_ml


def brain_centre(anatomy):
    """x, y, z in mm of the brain's centre in the scanner."""
    weights = anatomy.brain / anatomy.brain.sum()
    z, y, x = anatomy.grid.thin().axes()
    return np.array([(weights.sum(axis=(0, 1)) * x).sum(), (weights.sum(axis=(0, 2)) * y).sum(),
                     (weights.sum(axis=(1, 2)) * z).sum()])  # fmt: skip


def jacobian(patient, step=2.0):
    """Determinants of the map to the template, by differences, over the field of view."""
    axes = [np.arange(-reach, reach, step) for reach in (60, 90, 80)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    mapped = patient.to_template(points.reshape(-1, 3)).reshape(points.shape)
    columns = [np.diff(mapped, axis=a)[:-1 if a != 0 else None, :-1 if a != 1 else None, :-1 if a != 2 else None]
               for a in range(3)]  # fmt: skip
    return np.linalg.det(np.stack(columns, axis=-1) / step)


def test_the_standard_grid_is_the_papers():
    grid = Grid.covering(128, 18)
    assert grid.shape == (18, 128, 128)
    assert grid.spacing == pytest.approx((7.0, 230 / 128, 230 / 128))
    assert grid.thin().shape == (72, 128, 128)
    assert grid.thin().spacing[0] == pytest.approx(1.75)
    assert Grid.covering(512, 18).substeps == Grid.covering(32, 18).substeps == 4


def test_a_slice_is_the_mean_of_its_layers():
    grid = Grid((2, 1, 3), (4.0, 2.0, 2.0))
    layers = np.arange(12, dtype=np.float32).reshape(4, 1, 3)
    assert grid.average(layers).tolist() == [[[1.5, 2.5, 3.5]], [[7.5, 8.5, 9.5]]]


def test_tissues_are_fractions_of_the_layers_voxels(anatomy):
    parts = (anatomy.scalp, anatomy.fluid, anatomy.grey, anatomy.white)
    assert all(part.shape == GRID.thin().shape and part.dtype == np.float32 for part in parts)
    assert min(part.min() for part in parts) >= 0
    assert sum(parts).max() <= 1 + 1e-4
    assert anatomy.template_mm.shape == (3, *GRID.thin().shape)


def test_a_head_has_plausible_volumes_and_fits_the_field_of_view(anatomy):
    ml = GRID.thin().voxel_ml
    assert 1100 < brain_ml(anatomy) < 1750
    assert 0.8 < anatomy.grey.sum() / anatomy.white.sum() < 2.2
    assert 150 < float(anatomy.fluid.sum()) * ml < 500
    edges = [anatomy.scalp[:, side].max() for side in (0, -1)] + [anatomy.scalp[..., side].max() for side in (0, -1)]
    assert max(edges) < 0.05


def test_arrays_run_to_the_back_and_to_the_top(anatomy):
    y_of_bottom = (anatomy.brain[0].sum(axis=1) * GRID.axes()[1]).sum() / anatomy.brain[0].sum()
    assert y_of_bottom > 10  # the cerebellum
    assert anatomy.brain[-1].sum() < 0.1 * anatomy.brain[GRID.thin().shape[0] // 2].sum()


def test_heads_are_flipped_and_differ_in_size():
    determinants = [np.linalg.det(head(seed).matrix) for seed in range(12)]
    assert {np.sign(d) for d in determinants} == {-1, 1}
    assert 0.02 < np.std(np.abs(determinants)) < 0.15


@pytest.mark.parametrize("seed", range(4))
def test_the_deformation_never_folds_space_even_with_the_widest_ventricles(seed):
    determinants = jacobian(head(seed, widening=1.2))
    determinants *= np.sign(np.linalg.det(head(seed).matrix))
    assert determinants.min() > 0
    assert determinants.std() > 0.05  # there is a deformation


def test_the_ventricles_grow_with_the_widening_and_the_brain_shrinks_with_the_atrophy():
    volumes = [brain_ml(head(atrophy=a).sample(GRID)) for a in (0.0, 0.6, 1.2)]
    assert all(less < 0.97 * more for more, less in pairwise(volumes))
    in_the_middle = (slice(16, 52), slice(14, 34), slice(17, 31))
    volumes = [float(head(widening=w).sample(GRID).fluid[in_the_middle].sum()) for w in (0.0, 0.4, 0.8, 1.2)]
    assert all(more > 1.1 * less for less, more in pairwise(volumes))


def test_a_pose_shifts_and_turns_the_head(anatomy):
    shifted = head().sample(GRID, Pose((0, 0, 0), (8.0, -6.0, 3.0)))
    assert brain_centre(shifted)[:2] - brain_centre(anatomy)[:2] == pytest.approx([8, -6], abs=0.7)
    nose = np.array([[0.0, -80.0, 0.0]])
    turned = Pose((0, 0, 90), (0, 0, 0))
    assert turned.to_head(np.array([[80.0, 0.0, 0.0]])) == pytest.approx(nose)  # the nose points to the left
    assert turned.to_head(nose + 1) != pytest.approx(nose + 1)


def test_the_same_head_on_other_grids_has_the_same_brain(anatomy):
    for grid in (Grid.covering(96, 18), Grid.covering(48, 6), Grid((21, 132, 132), (6.0, 1.75, 1.75))):
        assert brain_ml(head().sample(grid)) == pytest.approx(brain_ml(anatomy), rel=0.03)
