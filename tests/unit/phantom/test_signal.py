import numpy as np
import pytest

from nnunet_mgcl.phantom.anatomy import Grid, draw_anatomy
from nnunet_mgcl.phantom.lesion import draw_lesion
from nnunet_mgcl.phantom.signal import MODALITIES, draw_image

GRID = Grid.fitting_the_head((48, 48, 10))


@pytest.fixture(scope="module")
def old_stroke():
    rng = np.random.default_rng(3)
    anatomy = draw_anatomy(GRID, rng)
    return anatomy, draw_lesion(GRID, anatomy, 10.0, rng)


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_lesion_is_brighter_than_the_brain_and_the_brain_than_air(modality, old_stroke):
    anatomy, lesion = old_stroke
    image = draw_image(modality, GRID, anatomy, lesion, np.random.default_rng(0))
    air = anatomy.brain + anatomy.fluid + anatomy.scalp == 0
    healthy = (anatomy.brain > 0.9) & ~lesion.perfusion
    assert image.dtype == np.int16
    assert image[lesion.core].mean() > 1.3 * image[healthy].mean() > 3 * image[air].mean()


def test_flair_suppresses_the_ventricles(old_stroke):
    anatomy, lesion = old_stroke
    image = draw_image("FLAIR", GRID, anatomy, lesion, np.random.default_rng(0))
    assert image[anatomy.fluid > 0.9].mean() < 0.5 * image[anatomy.brain > 0.9].mean()


def test_the_tissues_fill_a_voxel_at_most_once(old_stroke):
    anatomy, _ = old_stroke
    total = anatomy.scalp + anatomy.fluid + anatomy.grey + anatomy.white
    assert total.min() >= 0
    assert total.max() <= 1.001
    assert min(anatomy.grey.sum(), anatomy.white.sum(), anatomy.fluid.sum(), anatomy.scalp.sum()) > 100
