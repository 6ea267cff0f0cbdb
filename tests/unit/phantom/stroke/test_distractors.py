from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from nnunet_mgcl.phantom.brain.anatomy import draw_head
from nnunet_mgcl.phantom.brain.scan import Grid
from nnunet_mgcl.phantom.brain.template import load_template
from nnunet_mgcl.phantom.stroke.distractors import draw_distractors
from nnunet_mgcl.phantom.stroke.growth import draw_stroke

GRID = Grid.covering(64, 18)


def rng(seed):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def anatomy():
    return draw_head(rng(0)).sample(GRID)


@pytest.fixture(scope="module")
def old():
    """Old lesions of several patients with wide ventricles and a stroke, and their strokes."""
    strokes = [draw_stroke(0.4, rng(seed)) for seed in range(8, 16)]
    return [(draw_distractors(1.0, rng(seed), stroke), stroke) for seed, stroke in enumerate(strokes, start=8)]


def test_they_are_fractions_of_grey_and_white_matter(anatomy, old):
    for distractors, _ in old:
        maps = distractors.sample(anatomy)
        assert maps.wmh.dtype == maps.chronic.dtype == np.float32
        assert min(maps.wmh.min(), maps.chronic.min()) >= 0
        assert (maps.wmh + maps.chronic <= anatomy.brain + 1e-4).all()
        assert maps.wmh.max() > 0.8


def test_hyperintensities_are_white_matter_and_most_of_them_near_the_ventricles(anatomy):
    distractors = next(d for d in (draw_distractors(1.0, rng(i)) for i in range(40)) if not d.chronic_count)
    wmh = distractors.sample(anatomy).wmh
    assert (wmh <= anatomy.white + 1e-5).all()
    ventricles = load_template().ventricles > 0.5
    z, y, x = np.rint(load_template().indices(anatomy.template_mm[:, wmh > 0.5])).astype(int)
    near = np.stack([z, y, x])[:, :, None] - np.argwhere(ventricles).T[:, None, ::7]
    assert np.median(np.sqrt((near**2).sum(axis=0)).min(axis=1)) * 2 < 12


def test_the_load_grows_with_the_ventricles():
    young, aged = ([draw_distractors(w, rng(seed)) for seed in range(8)] for w in (0.0, 1.2))
    volume = {id(group): np.mean([(d.wmh_mm > 0).sum() for d in group]) for group in (young, aged)}
    assert volume[id(aged)] > 2 * volume[id(young)]
    assert sum(d.chronic_count for d in aged) > sum(d.chronic_count for d in young)


def test_a_cavity_among_hyperintensities_is_still_fluid(anatomy, old):
    chronic = next(d for d, _ in old if d.chronic_count)
    maps = replace(chronic, wmh_mm=np.full_like(chronic.wmh_mm, 10.0)).sample(anatomy)
    assert (maps.wmh + maps.chronic <= anatomy.brain + 1e-4).all()


def test_no_chronic_infarct_is_drawn_near_an_acute_deficit():
    stroke = draw_stroke(0.2, rng(1))
    assert stroke.deficit_ml > 100
    lesions = [draw_distractors(1.2, rng(seed), stroke) for seed in range(25)]
    assert sum(d.chronic_count for d in lesions) > 10
    distance = distance_transform_edt(stroke.on_template() <= 0, sampling=2.0)
    assert min(distance[d.chronic_mm > 0].min(initial=99) for d in lesions) > 4


def test_they_keep_away_from_the_acute_stroke(anatomy, old):
    assert sum(d.chronic_count for d, _ in old) > 3
    for distractors, stroke in old:
        maps, acute = distractors.sample(anatomy), stroke.sample(anatomy)
        assert np.minimum(maps.chronic, acute.deficit).max() < 0.2
        voxels = (maps.wmh > 0.5) & (acute.core > 0.5)
        assert voxels.sum() < 0.01 * (acute.core > 0.5).sum() + 2


def test_a_chronic_infarct_is_a_cavity_with_a_bright_rim(anatomy, old):
    rims = []
    for distractors, _ in old:
        maps = distractors.sample(anatomy)
        cavity = maps.chronic > 0.5
        assert maps.wmh[cavity].max(initial=0) < 0.5
        field = np.where(distractors.chronic_mm > 0, 1, 0).sum()
        assert (field > 0) == (distractors.chronic_count > 0)
        if cavity.any():
            rims.append(maps.wmh[np.roll(cavity, 1, axis=2) | np.roll(cavity, -1, axis=2)].max())
    assert min(rims) > 0.3
