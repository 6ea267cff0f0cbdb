from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.mismatch.flair_ratio import flair_mismatch

LEFT, RIGHT = (42, 5, 5), (-42, 5, 5)


@pytest.mark.parametrize("ratio", [1.0, 1.4])
@pytest.mark.parametrize(("place", "side"), [(LEFT, "left"), (RIGHT, "right")])
def test_ratio_and_side_are_those_of_the_lesion_in_an_oblique_head(head, place, side, ratio) -> None:
    lying = head((8, -10, 12), (5, -4, 3), lesions=[(*place, 14, ratio)])
    found = flair_mismatch(lying.flair, lying.mask)
    assert found.patient.ratio == pytest.approx(ratio, abs=0.03)
    assert found.patient.side == side and found.patient is found.lesions[0]
    assert found.patient.volume_ml == pytest.approx(4 / 3 * np.pi * 14**3 / 1000, rel=0.1)


@pytest.mark.parametrize("axes", [[[0, 0, 1], [1, 0, 0], [0, -1, 0]], [[0.96, 0.28, 0], [0.28, -0.96, 0], [0, 0, -1]]])
def test_ratio_does_not_depend_on_the_grid(head, axes) -> None:
    lying = head((5, 0, 8), lesions=[(*LEFT, 14, 1.4)], axes=axes, shape=(40, 50, 60), spacing=(4.0, 4.5, 5.0))
    found = flair_mismatch(lying.flair, lying.mask)
    assert found.patient.ratio == pytest.approx(1.4, abs=0.03) and found.patient.side == "left"


@pytest.mark.parametrize(("shift", "measured"), [(0.0, True), (-1.0, True), (-20.0, False), (-200.0, False)])
def test_normalised_image_has_no_ratio_but_a_reason(head, shift, measured) -> None:
    lying = head(lesions=[(*LEFT, 14, 1.4)])
    found = flair_mismatch(lying.flair + shift, lying.mask)
    assert (found.patient.ratio is not None) is measured
    assert measured or "normalised" in found.patient.reason


def test_lesions_are_measured_one_by_one_the_largest_first(head) -> None:
    lying = head(lesions=[(40, -40, 0, 9, 1.5), (-42, 30, 0, 14, 1.2), (50, 40, 0, 3, 1.0)])
    found = flair_mismatch(lying.flair, lying.mask, min_ml=1.0)
    assert [lesion.side for lesion in found.lesions] == ["right", "left"]
    assert [lesion.ratio for lesion in found.lesions] == pytest.approx([1.2, 1.5], abs=0.03)
    assert found.patient.side == "both"
    assert found.patient.volume_ml == pytest.approx(sum(lesion.volume_ml for lesion in found.lesions))
    assert found.patient.ratio == pytest.approx(1.2, abs=0.03)  # a median of voxels: the larger lesion's
    np.testing.assert_allclose(found.lesions[0].centre, (42, -30, 0), atol=3)  # RAS


def changed(image, mask, factor):
    values = sitk.GetArrayFromImage(image)
    values[mask] *= factor
    result = sitk.GetImageFromArray(values)
    result.CopyInformation(image)
    return result


def test_other_side_s_lesion_is_no_reference(head) -> None:
    """A mirror region of which two thirds are an old lesion twice as bright: the rest counts."""
    lying, other = head(lesions=[(*LEFT, 14, 1.3)]), head(lesions=[(-42, 5, 0, 13, 2.0)]).mask
    flair = changed(lying.flair, other, 2)
    assert flair_mismatch(flair, lying.mask).patient.ratio < 0.8
    assert flair_mismatch(flair, lying.mask, other).patient.ratio == pytest.approx(1.3, abs=0.06)


def test_fluid_in_the_mirror_region_is_no_reference(head) -> None:
    """Beside a ventricle that is wider on the other side."""
    lying, wide = head(lesions=[(34, 5, 8, 13, 1.3)]), head(lesions=[(-30, 5, 8, 11, 1.0)]).mask
    flair = changed(lying.flair, wide, 0)
    assert flair_mismatch(flair, lying.mask).patient.ratio == pytest.approx(1.3, abs=0.05)


@pytest.mark.parametrize(("x", "radius", "ratio"), [(8, 15, 1.4), (0, 14, None)])
def test_lesion_across_the_midline_is_compared_where_its_mirror_is_healthy(head, x, radius, ratio) -> None:
    lying = head(lesions=[(x, 60, 20, radius, 1.4)])
    patient = flair_mismatch(lying.flair, lying.mask).patient
    assert patient.side == "both" and patient.ratio == (ratio and pytest.approx(ratio, abs=0.06))
    assert ("mirror region" in patient.reason) == (ratio is None)


def test_image_without_symmetry_has_no_ratio_but_a_reason() -> None:
    flair = sitk.GetImageFromArray(np.random.default_rng(0).normal(10, 1, (8, 32, 32)).astype(np.float32))
    flair.SetSpacing((3.0, 3.0, 6.0))
    mask = np.zeros((8, 32, 32), bool)
    mask[3:5, 5:15, 5:15] = True
    found = flair_mismatch(flair, mask)
    assert found.patient.ratio is None and "symmetric" in found.patient.reason


@pytest.mark.parametrize("lesions", [[], [(*LEFT, 3, 1.3)]])
def test_no_lesion_that_is_large_enough_is_none(head, lesions) -> None:
    lying = head(lesions=lesions)
    found = flair_mismatch(lying.flair, lying.mask, min_ml=0.5)
    assert found.lesions == [] and found.patient is None
