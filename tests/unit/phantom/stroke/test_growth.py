import gzip
from collections import Counter

import nibabel as nib
import numpy as np
import pytest

from nnunet_mgcl.phantom.brain.anatomy import draw_head
from nnunet_mgcl.phantom.brain.scan import Grid
from nnunet_mgcl.phantom.brain.template import load_template
from nnunet_mgcl.phantom.brain.territory import SHARES
from nnunet_mgcl.phantom.stroke.growth import draw_size, draw_stroke, outline
from nnunet_mgcl.phantom.stroke.lesion_masks import find_masks
from nnunet_mgcl.system.errors import UserError

GRID = Grid.covering(64, 18)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def head():
    return draw_head(rng())


@pytest.fixture(scope="module")
def anatomy(head):
    return head.sample(GRID)


@pytest.fixture(scope="module")
def sampled(anatomy):
    """Strokes of several seeds and stages, with their maps in one patient."""
    strokes = [draw_stroke(fraction, rng(i)) for i, fraction in enumerate((0.15, 0.4, 0.4, 0.7, 1.0, 0.3))]
    return [(stroke, stroke.sample(anatomy)) for stroke in strokes]


def ml(fraction, grid=GRID):
    return float(fraction.sum()) * grid.thin().voxel_ml


def test_the_core_lies_in_the_deficit_and_both_in_grey_and_white_matter(anatomy, sampled):
    for stroke, maps in sampled:
        assert stroke.core_ml <= stroke.deficit_ml
        assert maps.core.dtype == maps.deficit.dtype == np.float32
        assert (maps.core <= maps.deficit).all()
        assert (maps.deficit <= anatomy.brain).all()
        assert maps.core.max() > 0.9


def test_a_stroke_stays_on_its_side_of_the_midline_and_out_of_the_cerebellum(anatomy, sampled):
    for _, maps in sampled:
        x, _, z = anatomy.template_mm[:, maps.deficit > 0.2]
        assert len(set(np.sign(x))) == 1
        assert z.min() > -36


def test_both_sides_have_strokes():
    middle = load_template().grey.shape[2] // 2
    assert {draw_stroke(0.5, rng(seed)).box[2].start >= middle for seed in range(8)} == {False, True}


def test_volumes_in_a_patient_are_those_of_the_template_scaled_with_the_head(head, sampled):
    scale = 1 / abs(np.linalg.det(head.matrix))
    for stroke, maps in sampled:
        assert ml(maps.core) == pytest.approx(scale * stroke.core_ml, rel=0.25, abs=1.0)
        assert ml(maps.deficit) == pytest.approx(scale * stroke.deficit_ml, rel=0.25, abs=1.0)


def test_the_core_has_its_part_of_the_deficit(sampled):
    for (_, maps), fraction in zip(sampled, (0.15, 0.4, 0.4, 0.7, 1.0, 0.3), strict=True):
        assert ml(maps.core) == pytest.approx(fraction * ml(maps.deficit), rel=0.12)


def test_the_core_grows_within_the_same_deficit(anatomy):
    early, late = (draw_stroke(fraction, rng(1)).sample(anatomy) for fraction in (0.4, 0.8))
    assert np.allclose(early.deficit, late.deficit)
    assert (early.core <= late.core).all()
    assert ml(late.core) == pytest.approx(2 * ml(early.core), rel=0.1)


def test_age_falls_from_the_centre_to_the_border_of_the_core(sampled):
    for _, maps in sampled:
        in_tissue = maps.core / np.maximum(maps.deficit, 1e-6)
        assert maps.age.min() == 0
        assert maps.age.max() > 0.9
        assert maps.age[in_tissue < 0.4].max() < 0.1
        # It is the part of the core that died later: every part is equally large.
        assert np.average(maps.age, weights=maps.core) == pytest.approx(0.48, abs=0.06)


def test_core_volumes_are_over_the_papers_inclusion_and_log_normal():
    generator = rng()
    volumes = np.array([0.45 * draw_size(0.45, generator)[1] for _ in range(400)])
    assert volumes.min() > 1
    assert volumes.max() < 200
    assert 10 < np.median(volumes) < 22
    assert np.log(volumes).std() == pytest.approx(1.05, abs=0.2)


def test_small_and_large_cores_do_not_change_the_territories_shares():
    for fraction in (0.3, 1.0):
        generator = rng()
        territories = Counter(draw_size(fraction, generator)[0] for _ in range(600))
        for territory, share in SHARES.items():
            assert territories[territory] / 600 == pytest.approx(share, abs=0.05)


def test_an_early_stroke_with_a_small_core_has_a_large_deficit():
    sizes = [draw_size(0.05, rng(seed)) for seed in range(20)]
    assert min(0.05 * deficit for _, deficit in sizes) > 1
    assert "lacunar" not in {territory for territory, _ in sizes}


def test_a_core_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"0\.001"):
        draw_size(0.001, rng())


def test_the_smallest_cores_are_outlined_with_more_than_1_ml_and_on_coarse_grids_at_all(head):
    smallest = sorted((draw_size(0.5, rng(seed))[1], seed) for seed in range(60))[:3]
    fine, coarse = Grid.covering(128, 18), Grid.covering(32, 6)
    patient = {grid: head.sample(grid) for grid in (fine, coarse)}
    for _, seed in smallest:
        stroke = draw_stroke(0.5, rng(seed))
        assert outline(fine.average(stroke.sample(patient[fine]).core)).sum() * fine.voxel_ml > 1
        assert outline(coarse.average(stroke.sample(patient[coarse]).core)).sum() >= 2


def test_outline_takes_halves_and_otherwise_the_most():
    fractions = np.array([[[0.5, 0.9, 0.49, 0.0]]])
    assert outline(fractions).tolist() == [[[True, True, False, False]]]
    assert outline(fractions / 3).tolist() == [[[True, True, False, False]]]
    assert not outline(0 * fractions).any()


CENTRE, RADIUS = (-40, -10, 30), 12.0


def write_mask(path, radius=RADIUS, shift=0.0, value=1):
    """A ball in the left middle artery's territory, at 1 mm in the orientation (L, A, S)."""
    affine = np.array([[-1, 0, 0, 78 + shift], [0, 1, 0, -112], [0, 0, 1, -50], [0, 0, 0, 1]], dtype=float)
    indices = np.indices((157, 189, 136)).reshape(3, -1)
    mm = (affine[:3, :3] @ indices + affine[:3, 3:]).reshape(3, 157, 189, 136)
    inside = sum((a - c) ** 2 for a, c in zip(mm, CENTRE, strict=True)) < radius**2
    nib.save(nib.Nifti1Image(inside.astype(np.uint8) * value, affine), path)


@pytest.fixture
def folder(tmp_path):
    write_mask(tmp_path / "large.nii.gz")
    write_mask(tmp_path / "tiny.nii.gz", radius=5)
    return tmp_path


def test_a_real_mask_becomes_the_core_and_the_deficit_grows_around_it(folder, anatomy):
    ball = 4 / 3 * np.pi * RADIUS**3 / 1000
    masks = find_masks(folder)
    assert len(masks.paths) == 2
    for seed in range(2):  # the tiny one is passed over
        stroke = draw_stroke(0.25, rng(seed), masks)
        assert stroke.core_ml == pytest.approx(ball, rel=0.05)
        assert stroke.deficit_ml == pytest.approx(4 * ball, rel=0.06)
    maps = stroke.sample(anatomy)
    core = anatomy.template_mm[:, maps.core > 0.5]
    assert core.mean(axis=1) == pytest.approx(CENTRE, abs=2)
    assert np.sqrt(((core.T - CENTRE) ** 2).sum(axis=1)).max() < RADIUS + 3
    assert (maps.core <= maps.deficit).all()
    assert anatomy.template_mm[0, maps.deficit > 0.2].max() < 0


def test_a_deficit_without_room_is_smaller(folder):
    stroke = draw_stroke(0.01, rng(), find_masks(folder))
    assert 300 < stroke.deficit_ml < 700
    assert stroke.core_ml == pytest.approx(7.2, rel=0.03)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda folder: None, "no .nii or .nii.gz file"),
        (lambda folder: (folder / "a.nii.gz").write_bytes(b"nothing"), "cannot be read"),
        (lambda folder: write_mask(folder / "a.nii.gz", shift=100), "MNI space"),
        (
            lambda folder: nib.save(nib.Nifti1Image(np.ones((112, 112, 73), np.uint8), np.eye(4)), folder / "a.nii"),
            "MNI space",
        ),
        (lambda folder: nib.save(nib.Nifti1Image(np.ones((9, 9), np.uint8), np.eye(4)), folder / "a.nii"), "shape"),
    ],
)
def test_a_folder_without_masks_in_mni_space_is_refused_by_name(content, message, tmp_path):
    content(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        find_masks(tmp_path)
    assert str(tmp_path) in str(error.value)


def truncate(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:100_000]))


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (truncate, r"large\.nii\.gz[\s\S]*cannot be read"),
        (lambda path: write_mask(path, value=np.arange(136, dtype=np.uint8)), "several values"),
        (lambda path: path.unlink(), "none of"),  # the other one is too small
    ],
)
def test_masks_that_cannot_be_used_are_refused(folder, spoil, found):
    spoil(folder / "large.nii.gz")
    with pytest.raises(UserError, match=found):
        draw_stroke(0.5, rng(1), find_masks(folder))
