import numpy as np
import pytest

from nnunet_mgcl.phantom.brain.template import load_template
from nnunet_mgcl.phantom.brain.territory import SHARES, TERRITORIES, margin

LANDMARKS = {
    "MCA": {"insula": (38, 2, 0), "hand knob": (38, -24, 54), "temporal pole": (40, 10, -24)},
    "ACA": {"medial frontal": (6, 44, 20), "paracentral": (6, -30, 62), "cingulum": (8, 10, 36)},
    "PCA": {"calcarine": (8, -80, 6), "hippocampus": (26, -26, -12), "thalamus": (10, -18, 8)},
    "lacunar": {"putamen": (26, 2, 4), "thalamus": (10, -18, 8), "corona radiata": (25, -12, 28)},
}


def at(volume, x, y, z):
    return volume[tuple(np.rint(load_template().indices(np.array([x, y, z], dtype=np.float32))).astype(int))]


@pytest.mark.parametrize("territory", TERRITORIES)
@pytest.mark.parametrize("side", [-1, 1])
def test_a_territory_holds_its_landmarks_on_both_sides(territory, side):
    for name, (x, y, z) in LANDMARKS[territory].items():
        assert at(margin(territory), side * x, y, z) > 0, name


def test_the_great_arteries_share_the_cerebrum_without_overlap():
    template = load_template()
    inside = [margin(territory) > 0 for territory in ("MCA", "ACA", "PCA")]
    assert not (np.sum(inside, axis=0) > 1).any()
    brain = (template.brain > 0.5) & (margin("cerebrum") > 1)
    assert (np.any(inside, axis=0) & brain).sum() > 0.85 * brain.sum()


@pytest.mark.parametrize("place", [(0, 20, 30), (20, -65, -35), (20, -60, -22), (4, -26, -30)])
def test_midline_cerebellum_and_brain_stem_belong_to_none(place):
    assert all(at(margin(territory), *place) <= 0 for territory in TERRITORIES)


def test_the_middle_artery_is_the_largest_and_has_most_strokes():
    tissue = {t: float(load_template().brain[margin(t) > 0].sum()) for t in TERRITORIES}
    assert max(tissue, key=tissue.get) == max(SHARES, key=SHARES.get) == "MCA"
    assert min(tissue, key=tissue.get) == "lacunar"
    assert sum(SHARES.values()) == pytest.approx(1)
