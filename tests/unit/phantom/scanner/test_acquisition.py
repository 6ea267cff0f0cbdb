from dataclasses import replace

import numpy as np
import pytest

from nnunet_mgcl.phantom.brain.anatomy import Anatomy
from nnunet_mgcl.phantom.brain.scan import Grid
from nnunet_mgcl.phantom.scanner import acquisition as scanner
from nnunet_mgcl.phantom.scanner.acquisition import CHANNELS, MODALITIES, draw_images
from nnunet_mgcl.phantom.scanner.scene import draw_masks, set_scene
from nnunet_mgcl.phantom.stroke.clock import TissueClock
from nnunet_mgcl.phantom.stroke.distractors import DistractorMaps
from nnunet_mgcl.phantom.stroke.growth import StrokeMaps

GRID = Grid.covering(64, 6)
CLOCK = TissueClock(hours=6.0, t2_rise=20.0, adc_ratio=0.6, core_fraction=0.3, visible_ratio=1.1)
# Regions of the slab of tissue that the tests scan, in columns of x; all of them 40 rows high.
FLUID, GREY, WHITE, DEFICIT, CORE = (slice(a, a + 8) for a in (8, 16, 24, 32, 40))


def slab():
    """Columns of one tissue each, with air around and a line of scalp below: no head, so that every voxel is known."""
    layers = {name: np.zeros(GRID.thin().shape, dtype=np.float32) for name in ("scalp", "fluid", "grey", "white")}
    rows = slice(12, 52)
    layers["fluid"][:, rows, FLUID] = 1
    layers["grey"][:, rows, GREY] = 1
    layers["white"][:, rows, WHITE.start : 56] = 1
    layers["scalp"][:, 56:60] = 1
    mm = np.broadcast_to(np.float32([0, -20, 60])[:, None, None, None], (3, *GRID.thin().shape))
    return Anatomy(**layers, template_mm=mm, grid=GRID)


def stroke(anatomy):
    core, deficit, age = (np.zeros_like(anatomy.white) for _ in range(3))
    deficit[:, 12:52, DEFICIT.start : CORE.stop] = 1
    core[:, 12:52, CORE] = 1
    age[:, 12:52, CORE] = 1
    return StrokeMaps(core, deficit, age)


def middle(image, columns):
    """The inside of a region, away from its borders."""
    return image[:, 18:46, columns.start + 2 : columns.stop - 2].astype(float)


def scan(scene, seed=0):
    return {k: v for m in MODALITIES for k, v in draw_images(m, scene, np.random.default_rng(seed)).items()}


@pytest.fixture(scope="module", autouse=True)
def still_patients():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanner, "MOTION_SHARE", 0.0)
        yield


@pytest.fixture(scope="module")
def healthy():
    return scan(set_scene(slab()))


def with_stroke(clock=CLOCK):
    anatomy = slab()
    return set_scene(anatomy, None, stroke(anatomy), clock)


@pytest.fixture(scope="module")
def sick():
    return scan(with_stroke())


def test_each_modality_has_its_channels_in_its_units(sick):
    assert list(sick) == [channel for m in MODALITIES for channel in CHANNELS[m]] == ["DWI", "ADC", "FLAIR", "Tmax"]
    assert [image.dtype for image in sick.values()] == [np.int16, np.int16, np.int16, np.float32]
    assert {image.shape for image in sick.values()} == {GRID.shape}
    # 10^-6 mm^2/s; noise biases high values.
    assert middle(sick["ADC"], WHITE).mean() == pytest.approx(720, rel=0.03)
    assert middle(sick["ADC"], GREY).mean() == pytest.approx(820, rel=0.03)
    assert middle(sick["ADC"], FLUID).mean() == pytest.approx(3000, rel=0.1)


def test_equal_seeds_give_equal_images(sick):
    again, other = scan(with_stroke()), scan(with_stroke(), seed=1)
    assert all((again[name] == sick[name]).all() for name in sick)
    assert not any((other[name] == sick[name]).all() for name in sick)


def test_the_lesion_shows_what_the_clock_says(healthy, sick):
    # The same seeds: the same coils, noise and gain, so the ratio is the lesion's own. It lies in white matter.
    def ratio(name, region):
        return middle(sick[name], region).mean() / middle(healthy[name], region).mean()

    assert ratio("ADC", CORE) == pytest.approx(0.6, abs=0.01)
    assert ratio("FLAIR", CORE) == pytest.approx(np.exp(125 / 80 - 125 / 100), rel=0.01)
    assert ratio("DWI", CORE) == pytest.approx(np.exp(80 / 80 - 80 / 100 + 0.4 * 0.72), rel=0.01)
    for name in ("ADC", "FLAIR", "DWI"):
        assert ratio(name, DEFICIT) == pytest.approx(1.0, abs=0.01)


def test_tmax_is_longest_in_the_core_and_beyond_6_s_in_the_penumbra(healthy, sick):
    assert np.median(middle(healthy["Tmax"], CORE)) < 3
    assert np.median(middle(sick["Tmax"], WHITE)[..., :2]) < 5
    assert 6 < np.median(middle(sick["Tmax"], DEFICIT)) < 10 < np.median(middle(sick["Tmax"], CORE))
    # No fit where there is no tissue: anything between the ends.
    fluid = middle(sick["Tmax"], FLUID)
    assert fluid.std() > 2
    assert (sick["Tmax"][:, :8] == 0).all()


def test_long_t2_shines_through_without_restricted_diffusion(healthy):
    late = scan(with_stroke(replace(CLOCK, adc_ratio=1.0)))
    assert middle(late["DWI"], CORE).mean() > 1.15 * middle(healthy["DWI"], CORE).mean()
    assert middle(late["ADC"], CORE).mean() == pytest.approx(middle(healthy["ADC"], CORE).mean(), rel=0.02)


def test_tissue_that_died_later_is_less_bright(healthy):
    # Half of the core died in the first quarter of its time: at a quarter of the age's scale T2 has half of its rise.
    anatomy = slab()
    maps = stroke(anatomy)
    maps.age[:, 12:52, CORE.start : CORE.start + 4] = 0.25
    images = scan(set_scene(anatomy, None, maps, CLOCK))
    ratio = images["FLAIR"] / np.maximum(healthy["FLAIR"], 1)
    young, old = ratio[:, 18:46, CORE.start + 2], ratio[:, 18:46, CORE.stop - 2]
    assert young.mean() == pytest.approx(np.exp(125 / 80 - 125 / 90), rel=0.02)
    assert old.mean() == pytest.approx(np.exp(125 / 80 - 125 / 100), rel=0.02)


def test_fat_is_bright_in_flair_and_suppressed_in_dwi(healthy):
    def scalp(name):
        return healthy[name][:, 57:59, 20:40].mean() / middle(healthy[name], WHITE).mean()

    assert scalp("FLAIR") > 1
    assert scalp("DWI") < 0.4


def with_distractors(wmh=0.0, chronic=0.0):
    anatomy = slab()
    maps = [np.zeros_like(anatomy.white) for _ in range(2)]
    for layers, share in zip(maps, (wmh, chronic), strict=True):
        layers[:, 12:52, CORE] = share
    return set_scene(anatomy, DistractorMaps(*maps))


def test_hyperintense_white_matter_is_bright_in_flair_and_no_stroke_in_dwi(healthy):
    for seed in range(5):
        scene = with_distractors(wmh=1.0)
        images, normal = scan(scene, seed), scan(set_scene(slab()), seed)
        assert middle(images["FLAIR"], CORE).mean() > 1.3 * middle(normal["FLAIR"], CORE).mean()
        assert middle(images["DWI"], CORE).mean() == pytest.approx(middle(normal["DWI"], CORE).mean(), rel=0.25)
        assert middle(images["ADC"], CORE).mean() > 1.15 * middle(normal["ADC"], CORE).mean()


def test_an_old_cavity_looks_like_fluid():
    images = scan(with_distractors(chronic=1.0))
    for name in ("FLAIR", "DWI", "ADC"):
        assert middle(images[name], CORE).mean() == pytest.approx(middle(images[name], FLUID).mean(), rel=0.15)


def test_a_thick_slice_is_the_mean_of_what_is_in_it():
    anatomy = slab()
    n = GRID.substeps
    half = np.zeros_like(anatomy.white)
    for z in range(GRID.shape[0]):
        half[z * n : z * n + n // 2, 12:52, CORE] = 1
    anatomy = replace(anatomy, white=anatomy.white - half, fluid=anatomy.fluid + half)
    share = (n // 2) / n
    assert set_scene(anatomy).fluid[2, 30, 44] == pytest.approx(share)
    whole, images = scan(set_scene(slab())), scan(set_scene(anatomy))
    # Fluid is dark in FLAIR: what is left is white matter's share.
    expected = (1 - share) * middle(whole["FLAIR"], CORE).mean()
    assert middle(images["FLAIR"], CORE).mean() == pytest.approx(expected, rel=0.02)


def test_air_spoils_echo_planar_images_and_not_flair(healthy):
    near_air = np.broadcast_to(np.float32([0, 36, -26])[:, None, None, None], slab().template_mm.shape)
    images = scan(set_scene(replace(slab(), template_mm=near_air)))
    assert middle(images["DWI"], GREY).mean() < 0.6 * middle(healthy["DWI"], GREY).mean()
    assert (images["FLAIR"] == healthy["FLAIR"]).all()
    assert middle(images["Tmax"], GREY).std() > 2 * middle(healthy["Tmax"], GREY).std()


def test_a_patient_who_moves_leaves_ghosts_outside_the_head(healthy, monkeypatch):
    monkeypatch.setattr(scanner, "MOTION_SHARE", 1.0)
    moved = scan(set_scene(slab()))
    for name in ("DWI", "FLAIR"):
        assert moved[name][:, :8].mean() > 1.1 * healthy[name][:, :8].mean()


def masks_of(clock, anatomy=None, **maps):
    anatomy = anatomy or slab()
    return draw_masks(set_scene(anatomy, None, replace(stroke(anatomy), **maps), clock))


def test_the_masks_are_core_visible_part_and_deficit_and_empty_without_a_stroke():
    without = draw_masks(set_scene(slab()))
    assert list(without) == list(MODALITIES)
    assert not any(mask.any() for mask in without.values())
    masks = masks_of(CLOCK)
    expected = np.zeros(GRID.shape, dtype=bool)
    expected[:, 12:52, CORE] = True
    assert (masks["DWI"] == expected).all()
    assert (masks["FLAIR"] == expected).all()  # as old all over
    expected[:, 12:52, DEFICIT] = True
    assert (masks["PWI"] == expected).all()


def test_flair_shows_the_part_that_is_old_enough():
    age = np.zeros(GRID.thin().shape, dtype=np.float32)
    age[:, 12:52, CORE.start : CORE.start + 3] = 1.0
    masks = masks_of(CLOCK, age=age)
    assert masks["FLAIR"].sum() == GRID.shape[0] * 40 * 3
    assert (masks["DWI"] | ~masks["FLAIR"]).all()


@pytest.mark.parametrize("t2_rise", [0.5, 5.0, 9.0, 30.0])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_flair_has_a_mask_if_and_only_if_the_reader_sees_the_lesion(t2_rise, share):
    # Of a coarse grid: no voxel is all core, none is of the centre's age alone, the deficit may be outlined elsewhere.
    anatomy = slab()
    rng = np.random.default_rng(0)
    maps = stroke(anatomy)
    core = np.where(maps.core > 0, share, 0).astype(np.float32)
    deficit = np.where(maps.core > 0, share, 0.2 * maps.deficit).astype(np.float32)
    age = rng.uniform(0, 0.5, core.shape).astype(np.float32)
    clock = replace(CLOCK, t2_rise=t2_rise)
    masks = masks_of(clock, anatomy, core=core, deficit=deficit, age=age)
    assert masks["DWI"].any()
    assert masks["FLAIR"].any() == clock.flair_visible
    assert (masks["DWI"] | ~masks["FLAIR"]).all()
    assert (masks["PWI"] | ~masks["DWI"]).all()
