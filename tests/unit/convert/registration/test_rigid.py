"""Known rigid motions of a synthetic head are found again, by both engines.

The head is made of the MNI152 maps inside nilearn: three contrasts of the same tissues, with noise and a coil's bias.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from nnunet_mgcl.convert.registration import rigid
from nnunet_mgcl.convert.registration.grid import Grid, resample
from nnunet_mgcl.convert.registration.mutual_information import MutualInformation
from nnunet_mgcl.convert.registration.rigid import Registration, doubts, register
from nnunet_mgcl.system.errors import UserError

CONTRASTS = {"T1": (0.65, 1.0, 0.2, 0.8), "FLAIR": (1.0, 0.75, 0.1, 0.5), "DWI": (0.8, 0.7, 0.05, 0.1)}
"""Signals of grey matter, white matter, fluid and scalp."""
FLAIR_GRID = ((100, 112, 20), (2.0, 2.0, 6.0))
DWI_GRID = ((84, 88, 26), (2.5, 2.5, 5.0))
ENGINES = pytest.mark.parametrize("engine", ["sitk", "elastix"])


@cache
def tissues() -> list[np.ndarray]:
    """Shares of grey matter, white matter, fluid and scalp, `(Z, Y, X)` at 2 mm."""
    from nilearn import datasets

    maps = (datasets.load_mni152_gm_template(resolution=2), datasets.load_mni152_wm_template(resolution=2))
    grey, white = (np.pad(np.clip(m.get_fdata(), 0, 1), 8).transpose(2, 1, 0) for m in maps)
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(grey + white > 0.3, iterations=3))
    away = 2 * ndimage.distance_transform_edt(~brain)
    fluid = np.clip(brain - grey - white, 0, 1) + ((away > 0) & (away <= 3))
    return [grey, white, fluid, ((away > 7) & (away <= 12)).astype(float)]


@cache
def head(contrast: str) -> sitk.Image:
    """A head at 2 mm whose middle is at 0."""
    values = sum(signal * tissue for signal, tissue in zip(CONTRASTS[contrast], tissues(), strict=True))
    image = sitk.GetImageFromArray(ndimage.gaussian_filter(values.astype(np.float32), 0.5))
    image.SetSpacing((2.0, 2.0, 2.0))
    image.SetOrigin([1.0 - size for size in image.GetSize()])
    return image


def scan(
    contrast: str,
    size: tuple[int, ...],
    spacing: tuple[float, ...],
    motion: sitk.Transform | None = None,
    lift: float = 0.0,
) -> sitk.Image:
    """A scan of the head after it has moved, its field of view `lift` mm above the head's middle; noisy."""
    origin = [-step * (n - 1) / 2 for n, step in zip(size, spacing, strict=True)]
    grid = Grid(size, spacing, (*origin[:2], origin[2] + lift), sitk.Image(1, 1, 1, sitk.sitkUInt8).GetDirection())
    where = sitk.Euler3DTransform() if motion is None else motion.GetInverse()
    clean = resample(head(contrast), grid, where, interpolation="linear")
    rng = np.random.default_rng(len(contrast))
    values = sitk.GetArrayFromImage(clean) * np.linspace(0.8, 1.2, size[0])
    noisy = sitk.GetImageFromArray(
        np.hypot(values + rng.normal(0, 0.03, values.shape), rng.normal(0, 0.03, values.shape))
    )
    noisy.CopyInformation(clean)
    return sitk.Cast(noisy, sitk.sitkFloat32)


def motion(millimetres: float, degrees: float, seed: int) -> sitk.Euler3DTransform:
    """A rotation about the head's middle and a shift, in directions drawn by chance."""
    axis, shift = (v / np.linalg.norm(v) for v in np.random.default_rng(seed).normal(size=(2, 3)))
    turn = sitk.VersorRigid3DTransform()
    turn.SetRotation(axis.tolist(), float(np.deg2rad(degrees)))
    result = sitk.Euler3DTransform()
    result.SetMatrix(turn.GetMatrix())
    result.SetTranslation((shift * millimetres).tolist())
    return result


def rotation(transform: sitk.Euler3DTransform) -> np.ndarray:
    return np.reshape(transform.GetMatrix(), (3, 3))


def worst_miss(found: sitk.Euler3DTransform, true: sitk.Euler3DTransform) -> float:
    """mm at points all over the head, down to its skin; 1 mm there are 0.7 degrees."""
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    points = [(70 * np.cos(a), 85 * np.sin(a), z) for a in around for z in (-40.0, 0.0, 40.0)]
    return max(float(np.linalg.norm(np.subtract(found.TransformPoint(p), true.TransformPoint(p)))) for p in points)


@ENGINES
def test_a_known_motion_is_found_again(engine):
    true = motion(15, 10, seed=15)
    found = register(scan("FLAIR", *FLAIR_GRID), scan("DWI", *DWI_GRID, true), engine=engine)
    assert worst_miss(found.transform, true) < 1
    assert found.after > found.before
    assert found.rotation_deg == pytest.approx(10, abs=0.5)
    assert found.shift_mm == pytest.approx(15, abs=4)  # the head's brightness is not centred at 0
    assert not doubts(found, max_shift=25, max_rotation=20)


@pytest.mark.slow
@ENGINES
@pytest.mark.parametrize("seed", range(8))
def test_many_motions_between_contrasts_are_found_again(engine, seed):
    rng = np.random.default_rng(seed)
    first, second = rng.choice(sorted(CONTRASTS), 2, replace=False)
    true = motion(rng.uniform(0, 15), rng.uniform(0, 10), seed) if seed else None
    found = register(scan(first, (220, 240, 22), (0.9, 0.9, 6.0)), scan(second, *DWI_GRID, true), engine=engine)
    true = true or sitk.Euler3DTransform()
    assert worst_miss(found.transform, true) < 1


def test_headers_of_another_session_do_not_matter():
    """Origins half a metre apart, and the scan stored as sagittal slices from left to right."""
    true = motion(8, 5, seed=1)
    moving = scan("DWI", *DWI_GRID, true)
    far = np.array([300.0, -200.0, 500.0])
    moving.SetOrigin(far + moving.GetOrigin())
    true.SetTranslation(far + true.GetTranslation())
    moving = sitk.Flip(sitk.PermuteAxes(moving, (2, 0, 1)), (False, True, False))
    found = register(scan("FLAIR", *FLAIR_GRID), moving, engine="sitk")
    assert worst_miss(found.transform, true) < 1
    assert found.before == 0
    assert "moved by" in doubts(found, max_shift=25, max_rotation=20)[0]


@pytest.mark.slow
def test_part_of_the_head_is_enough():
    true = motion(10, 5, seed=2)
    slab = scan("DWI", (84, 88, 14), (2.5, 2.5, 5.0), true, lift=20.0)
    found = register(scan("FLAIR", *FLAIR_GRID), slab, engine="sitk")
    assert worst_miss(found.transform, true) < 2
    assert not doubts(found, max_shift=25, max_rotation=20)


@ENGINES
def test_the_same_scans_give_the_same_bits_and_nothing_else(engine, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    fixed, moving = (
        scan("FLAIR", (34, 38, 14), (6.0, 6.0, 9.0)),
        scan("DWI", (34, 38, 14), (6.0, 6.0, 9.0), motion(5, 5, 3)),
    )
    first, second = (register(fixed, moving, engine=engine) for _ in range(2))
    for name in ("GetParameters", "GetFixedParameters"):
        assert getattr(first.transform, name)() == getattr(second.transform, name)()
    assert (first.before, first.after) == (second.before, second.after)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_scans_that_cannot_be_registered_are_refused_by_what_is_wrong_with_them():
    whole = scan("FLAIR", (34, 38, 26), (6.0, 6.0, 5.0))
    with pytest.raises(UserError, match="34 x 38 x 3 voxels"):
        register(whole, whole[:, :, 11:14], engine="sitk")
    with pytest.raises(UserError, match="99 % of its voxels are 0"):
        register(whole * 0, whole, engine="sitk")
    assert register(whole, whole[:, :, 11:15], engine="sitk").after > 0  # four slices are enough to try


def test_a_few_common_voxels_do_not_look_like_a_fit():
    """Of two columns of voxels each explains the other well; of whole scans that do not fit, hardly."""
    fixed = scan("FLAIR", (50, 56, 20), (4.0, 4.0, 6.0))
    measure = MutualInformation(fixed, scan("DWI", (50, 56, 20), (4.0, 4.0, 6.0)))
    fit = measure(sitk.Euler3DTransform())
    assert measure(sitk.TranslationTransform(3, (4.0, 4.0, 6.0))) < 0.8 * fit
    assert measure(sitk.TranslationTransform(3, (194.0, 218.0, 0.0))) < 0.01 * fit
    assert measure(sitk.TranslationTransform(3, (500.0, 0.0, 0.0))) == 0


@pytest.mark.parametrize(
    ("end", "kept", "doubted"), [(motion(10.4, 14.3, seed=0), False, True), (motion(0.3, 0.2, seed=0), True, False)]
)
def test_a_measure_that_fell_moves_nothing(monkeypatch, end, kept, doubted):
    """By 1 %: that is the measure's noise where the search ended beside the headers' pose, and nowhere else."""

    class Falling:
        def __init__(self, fixed: sitk.Image, moving: sitk.Image) -> None: ...

        def __call__(self, transform: sitk.Transform, *, shuffled: bool = False) -> float:
            still = np.allclose(transform.TransformPoint((50.0, 0.0, 0.0)), (50.0, 0.0, 0.0))
            return 0.01 if shuffled else 0.5 if still else 0.495

    monkeypatch.setattr(rigid, "MutualInformation", Falling)
    monkeypatch.setitem(rigid.ENGINES, "sitk", lambda fixed, moving, start: end)
    fixed = scan("FLAIR", (34, 38, 14), (6.0, 6.0, 9.0))
    found = register(fixed, scan("DWI", (34, 38, 14), (6.0, 6.0, 9.0)), engine="sitk")
    assert worst_miss(found.transform, sitk.Euler3DTransform()) == found.shift_mm == found.rotation_deg == 0
    assert found.after == (0.5 if kept else 0.495)
    assert bool(doubts(found, max_shift=25, max_rotation=20)) == doubted


@ENGINES
def test_pure_noise_is_doubted(engine):
    size, spacing = (34, 38, 14), (6.0, 6.0, 9.0)
    fixed = scan("FLAIR", size, spacing)
    noise = sitk.GetImageFromArray(np.random.default_rng(0).normal(100, 20, size[::-1]).astype(np.float32))
    noise.CopyInformation(fixed)
    found = register(fixed, noise, engine=engine)
    assert "hardly anything in common" in doubts(found, max_shift=1e3, max_rotation=360)[-1]
    same = MutualInformation(fixed, scan("DWI", size, spacing))
    assert same(sitk.Euler3DTransform()) > 3 * same(sitk.Euler3DTransform(), shuffled=True)


def test_a_perfusion_map_is_not_slid_out_of_view(tmp_path):
    """A Tmax map is 0 outside the brain and almost even in it: where air counts, less brain in both views fits more."""
    from nnunet_mgcl.phantom.options import PhantomOptions
    from nnunet_mgcl.phantom.unregistered import SCANS
    from nnunet_mgcl.phantom.writing import write_phantom

    options = PhantomOptions(cases=1, unlabelled=0, test=0, matrix=192)
    list(write_phantom(SCANS, tmp_path, options))
    flair, tmax = (
        sitk.ReadImage(tmp_path / "Phantom_scans" / "phantom_001" / f"{c}.nii.gz") for c in ("FLAIR", "Tmax")
    )
    found = register(flair, tmax, engine="sitk")
    assert found.shift_mm < 8  # the patient has moved by 2 mm and 2 degrees (sd) along and about each axis
    assert found.after > found.before


def test_the_measure_is_the_mutual_information_of_what_it_sees():
    """Two equally likely values that determine each other: one bit; independent ones: none.

    One point in 64 lies between the halves, where the values run through all bins: 0.17 bits more.
    """
    halves = np.zeros((8, 8, 8), np.float32)
    halves[:, :, 4:] = 1
    across = halves.swapaxes(0, 2).copy()

    def sharp(values: np.ndarray) -> sitk.Image:
        image = sitk.GetImageFromArray(np.repeat(np.repeat(np.repeat(values, 8, 0), 8, 1), 8, 2))
        image.SetSpacing((0.1, 0.1, 0.1))  # so small that the margin around the bright half holds the dark one
        return image

    one, other = sharp(halves), sharp(across)
    still = sitk.Euler3DTransform()
    assert MutualInformation(one, 5 - 3 * one)(still) == pytest.approx(1.17, abs=0.03)
    assert MutualInformation(one, other)(still) == pytest.approx(0, abs=0.02)


def test_the_motion_is_that_of_the_heads_centre_not_of_the_origin():
    turn = sitk.Euler3DTransform()
    turn.SetCenter((100.0, 0.0, 0.0))
    turn.SetRotation(0.0, 0.0, np.deg2rad(10))
    assert rigid.motion(turn, np.array([100.0, 0.0, 0.0])) == (pytest.approx(0), pytest.approx(10))


@pytest.mark.parametrize(
    ("before", "after", "shift", "turn", "count"),
    [(0.5, 0.8, 24, 19, 0), (0.5, 0.5, 0, 0, 0), (0.5, 0.495, 0, 0, 1), (0, 0.8, 26, 0, 1), (0, 0.8, 26, 21, 2)],
)
def test_each_number_beyond_its_limit_is_a_doubt(before, after, shift, turn, count):
    found = Registration(sitk.Euler3DTransform(), before, after, shift, turn)
    assert len(doubts(found, max_shift=25, max_rotation=20)) == count


def test_registration_imports_no_elastix_and_no_torch():
    code = (
        "import sys, nnunet_mgcl.convert.registration.rigid; print({'torch', 'itk', 'matplotlib'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


SCANS = Path(os.environ.get("MGCL_TEST_DATA", "nowhere")) / "isles22"
"""Three patients of ISLES'22 (Hernandez Petzsche et al., Scientific Data 9, 762, 2022; CC BY-SA 4.0)."""


@pytest.mark.slow
@pytest.mark.skipif(not SCANS.is_dir(), reason="set MGCL_TEST_DATA to a folder that holds the scans")
@ENGINES
@pytest.mark.parametrize(("millimetres", "degrees"), [(0, 0), (15, 10), (7, 10), (15, 3)])
def test_a_known_motion_of_a_real_scan_is_found_again(engine, millimetres, degrees):
    """Against the scans' own registration: nobody knows their true one."""
    name = "sub-strokecase0009_ses-0001_{}.nii.gz"
    dwi, flair = (sitk.ReadImage(str(SCANS / name.format(kind)), sitk.sitkFloat32) for kind in ("dwi", "flair"))
    unmoved = register(dwi, flair, engine=engine)
    true = motion(millimetres, degrees, seed=millimetres)
    moved = sitk.Image(flair)  # no value changes: its header is turned about the middle of the head, and shifted
    true.SetCenter(Grid.of(flair).centre.tolist())
    moved.SetOrigin(true.TransformPoint(flair.GetOrigin()))
    moved.SetDirection((rotation(true) @ np.reshape(flair.GetDirection(), (3, 3))).ravel().tolist())
    found = register(dwi, moved, engine=engine)
    back = sitk.CompositeTransform([true.GetInverse(), found.transform])
    around = np.indices((3, 3, 3)).reshape(3, -1).T * (60, 70, 45) - (60, 70, 45)
    points = (Grid.of(dwi).centre + around).tolist()
    miss = [np.subtract(back.TransformPoint(p), unmoved.transform.TransformPoint(p)) for p in points]
    assert np.linalg.norm(miss, axis=1).max() < 1
    assert not doubts(found, max_shift=25, max_rotation=20)
