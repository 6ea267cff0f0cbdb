import numpy as np
import pytest

from nnunet_mgcl.phantom.brain.template import STEP_MM, load_template, smooth_noise

VOXEL_ML = STEP_MM**3 / 1000


def at(volume, x, y, z):
    """The value of the voxel that holds a point of the template."""
    index = np.rint(load_template().indices(np.array([x, y, z], dtype=np.float32))).astype(int)
    return volume[tuple(index)]


def test_the_tissues_are_fractions_of_a_whole():
    template = load_template()
    for tissue in (template.grey, template.white, template.fluid):
        assert tissue.min() >= 0
        assert tissue.max() > 0.9
    assert (template.brain + template.fluid).max() <= 1 + 1e-5


@pytest.mark.parametrize(
    ("tissue", "point"),
    [
        ("white", (0, 26, 6)),  # genu of the corpus callosum, in front
        ("white", (26, -20, 34)),  # centrum semiovale
        ("grey", (12, 10, 10)),  # head of the caudate
        ("grey", (4, -66, -20)),  # cerebellar vermis, behind and below
        ("fluid", (-7, 6, 18)),  # lateral ventricle
    ],
)
def test_landmarks_are_where_mni_coordinates_say(tissue, point):
    assert at(getattr(load_template(), tissue), *point) > 0.5


def test_the_ventricles_are_inside_the_brain_and_on_both_sides():
    template = load_template()
    x = np.broadcast_to(template.coordinates()[0], template.grey.shape)
    left, right = (float(template.ventricles[side].sum()) * VOXEL_ML for side in (x < 0, x > 0))
    assert 6 < left < 15
    assert right == pytest.approx(left, rel=0.2)
    assert (template.depth[template.ventricles > 0] < -10).all()


def test_the_hull_encloses_the_brain_and_the_gaps_that_the_scalp_does_not_follow():
    template = load_template()
    assert (template.hull[template.brain > 0.5] < 3).all()
    between_the_temporal_lobes = (0, 16, -30)
    assert at(template.depth, *between_the_temporal_lobes) > 2
    assert at(template.hull, *between_the_temporal_lobes) < 2


def test_smooth_noise_is_standard_and_as_coarse_as_asked():
    fine, coarse = (smooth_noise((40, 41, 42), scale, np.random.default_rng(1)) for scale in (1.0, 5.0))
    for noise in (fine, coarse):
        assert noise.shape == (40, 41, 42)
        assert float(noise.mean()) == pytest.approx(0, abs=1e-3)
        assert float(noise.std()) == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(coarse, axis=0)).mean() < 0.5 * np.abs(np.diff(fine, axis=0)).mean()
