import numpy as np
import pytest

from nnunet_mgcl.data.tss_table import TSS_WINDOW_HOURS
from nnunet_mgcl.phantom.anatomy import Grid, draw_anatomy
from nnunet_mgcl.phantom.lesion import draw_hours, draw_lesion

GRID = Grid.fitting_the_head((32, 32, 8))


def lesions(hours, count=20):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        anatomy = draw_anatomy(GRID, rng)
        yield anatomy, draw_lesion(GRID, anatomy, hours, rng)


@pytest.mark.parametrize("count", [1, 2, 7, 24])
def test_half_of_the_strokes_are_inside_the_window(count):
    hours = np.array(draw_hours(count, np.random.default_rng(0)))
    assert len(hours) == count
    assert (hours < TSS_WINDOW_HOURS).sum() == (count + 1) // 2
    assert hours.min() >= 0.5
    assert hours.max() < 12


def test_the_penumbra_surrounds_the_core_and_both_lie_in_one_half_of_the_brain():
    for anatomy, lesion in lesions(2.0):
        assert lesion.core.any()
        assert not (lesion.core & ~lesion.perfusion).any()
        assert (anatomy.brain[lesion.perfusion] > 0.5).all()
        assert len(np.unique(np.sign(anatomy.side[lesion.perfusion]))) == 1


def test_the_perfusion_mismatch_shrinks_with_the_hours():
    def mismatch(hours):
        return np.mean([lesion.perfusion.sum() / lesion.core.sum() for _, lesion in lesions(hours)])

    assert mismatch(1.0) > 2 * mismatch(8.0)


def test_flair_brightens_with_the_hours():
    def contrasts(hours):
        return np.array([lesion.flair_contrast for _, lesion in lesions(hours)])

    assert contrasts(1.0).mean() + 0.3 < contrasts(8.0).mean()
    assert contrasts(4.5).std() > 0.05  # or one threshold would decide the class


def test_flairs_mask_is_the_core_where_it_is_visible_and_rarely_empty():
    masks = [(lesion.masks()["FLAIR"], lesion.core) for _, lesion in lesions(1.0, count=60)]
    assert all((mask == core).all() for mask, core in masks if mask.any())
    assert 0 < sum(not mask.any() for mask, _ in masks) < 15
