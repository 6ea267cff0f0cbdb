"""Against second implementations: SimpleITK for overlap, volume and surfaces, SciPy for lesions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from nnunet_mgcl.evaluation.measures.segmentation import lesion_f1, segmentation_metrics

SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.449, 0.7)]


def random_masks(seed: int, shape=(9, 14, 12)) -> tuple[np.ndarray, np.ndarray]:
    """Blobs with holes, thin parts and lesions at the border, and a shifted, noisy copy."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 1.2)
    reference = smooth > np.quantile(smooth, 0.85)
    prediction = np.roll(reference, (1, 2), (1, 2)) ^ (rng.random(shape) < 0.03)
    return prediction, reference


def cube(*corner: int, size=3) -> np.ndarray:
    mask = np.zeros((9, 14, 12), bool)
    mask[tuple(slice(c, c + size) for c in corner)] = True
    return mask


CASES = {f"random {seed}": random_masks(seed) for seed in range(4)} | {
    "equal": (cube(1, 1, 1), cube(1, 1, 1)),
    "apart": (cube(0, 0, 0), cube(6, 11, 9)),
    "one voxel": (cube(4, 4, 4, size=1), cube(4, 4, 6, size=1)),
    "everywhere": (np.ones((9, 14, 12), bool), cube(3, 3, 3)),
}
every_case = pytest.mark.parametrize("masks", CASES.values(), ids=CASES)


def image(mask: np.ndarray, spacing) -> sitk.Image:
    result = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))  # ITK knows no outside
    result.SetSpacing(spacing[::-1])
    return result


def surface_distances(of: np.ndarray, to: np.ndarray, spacing) -> np.ndarray:
    contours = [
        sitk.BinaryContour(image(mask, spacing), fullyConnected=False, foregroundValue=1.0, backgroundValue=0.0)
        for mask in (of, to)
    ]
    distance = sitk.SignedMaurerDistanceMap(contours[1], squaredDistance=False, useImageSpacing=True)
    distances = np.maximum(sitk.GetArrayFromImage(distance), 0)  # inside a thick contour they are negative
    return distances[sitk.GetArrayFromImage(contours[0]) == 1]


@pytest.mark.parametrize("spacing", SPACINGS)
@every_case
def test_surfaces_agree_with_simpleitk(masks, spacing) -> None:
    prediction, reference = masks
    metrics = segmentation_metrics(prediction, reference, spacing, tolerance=1.0)
    there, back = surface_distances(prediction, reference, spacing), surface_distances(reference, prediction, spacing)
    assert metrics["hd95_mm"] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-5)
    near = (there <= 1 + 1e-6).sum() + (back <= 1 + 1e-6).sum()
    assert metrics["surface_dice"] == pytest.approx(near / (len(there) + len(back)), rel=1e-5)


@pytest.mark.parametrize("spacing", SPACINGS)
@every_case
def test_overlap_and_volume_agree_with_simpleitk(masks, spacing) -> None:
    metrics = segmentation_metrics(*masks, spacing, tolerance=1.0)
    prediction, reference = (image(mask, spacing) for mask in masks)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(reference, prediction)
    assert metrics["dice"] == pytest.approx(overlap.GetDiceCoefficient(), abs=1e-12)
    volumes = []
    for mask in (reference, prediction):
        shape = sitk.LabelShapeStatisticsImageFilter()
        shape.Execute(mask)
        volumes.append(shape.GetPhysicalSize(1) / 1000)
    assert [metrics["volume_ml"], metrics["predicted_volume_ml"]] == pytest.approx(volumes)
    assert metrics["volume_difference_ml"] == pytest.approx(abs(volumes[0] - volumes[1]), abs=1e-12)


@every_case
def test_lesions_agree_with_scipy(masks) -> None:
    prediction, reference = masks
    corners = np.ones((3, 3, 3))
    (own, lesions), (other, predicted) = (ndimage.label(mask, corners) for mask in (reference, prediction))
    found = sum(prediction[own == lesion].any() for lesion in range(1, lesions + 1))
    false = sum(not reference[other == lesion].any() for lesion in range(1, predicted + 1))
    expected = found / (found + (false + lesions - found) / 2)
    assert lesion_f1(prediction, reference) == (pytest.approx(expected), lesions, predicted)


class TestEmptyMasks:
    empty, full = np.zeros((4, 3, 12), bool), np.ones((4, 3, 12), bool)

    def test_both_empty_is_undefined_but_for_volume_and_counts(self) -> None:
        metrics = segmentation_metrics(self.empty, self.empty, (1, 1, 1), 1.0)
        undefined = {name for name, value in metrics.items() if value is None}
        assert undefined == {"dice", "lesion_f1", "hd95_mm", "surface_dice"}
        assert metrics["volume_difference_ml"] == metrics["lesions"] == 0

    @pytest.mark.parametrize("masks", [(empty, full), (full, empty)], ids=["missed", "invented"])
    def test_one_empty_is_as_bad_as_can_be(self, masks) -> None:
        metrics = segmentation_metrics(*masks, (3, 0, 1), 1.0)
        assert metrics["dice"] == metrics["lesion_f1"] == metrics["surface_dice"] == 0
        assert metrics["hd95_mm"] == math.hypot(4 * 3, 3 * 0, 12 * 1)


def test_a_single_slice_has_an_outline_not_a_surface() -> None:
    reference, prediction = np.zeros((2, 1, 20, 20), bool)
    reference[0, 2:18, 2:18] = True
    prediction[0, 6:14, 6:14] = True  # 4 voxels inside on every side
    metrics = segmentation_metrics(prediction, reference, (99.0, 1.0, 1.0), tolerance=3.0)
    assert metrics["hd95_mm"] == pytest.approx(math.sqrt(32), abs=0.8)
    assert metrics["surface_dice"] == 0


@pytest.mark.parametrize("spacing", [(999.0, 1.0, 1.0), (999 * 0.5, 0.25, 0.5), (5.0, 1.0, 1.0)])
def test_a_thickness_that_nnunet_made_up_is_in_no_number(spacing) -> None:
    """As it does for PNG and for NIfTI; 5 mm are a slice's own."""
    own, (mask, empty) = spacing[0] == 5, (np.ones((1, 3, 4), bool), np.zeros((1, 3, 4), bool))
    metrics = segmentation_metrics(mask, empty, spacing, 1.0)
    undefined = {name for name, value in metrics.items() if value is None}
    assert undefined == (set() if own else {"volume_ml", "predicted_volume_ml", "volume_difference_ml"})
    assert metrics["hd95_mm"] == math.hypot(5 * own, 3 * spacing[1], 4 * spacing[2])
    assert (metrics["lesions"], metrics["predicted_lesions"]) == (0, 1)


@pytest.mark.parametrize(("tolerance", "reached"), [(2.4, False), (2.5, True)])
def test_a_tolerance_is_in_millimetres(tolerance, reached) -> None:
    metrics = segmentation_metrics(cube(3, 3, 3), cube(4, 3, 3), (2.5, 1, 1), tolerance)
    assert (metrics["surface_dice"] == 1) is reached


@pytest.mark.parametrize("shape", [(5, 1, 1), (1, 5, 1), (1, 1, 5)])
def test_a_line_of_voxels_is_measured_along_itself(shape) -> None:
    prediction, reference = np.zeros((2, 5), bool)
    prediction[:2], reference[2:4] = True, True
    spacing = [6.0 if n == 5 else 1.0 for n in shape]
    found = segmentation_metrics(prediction.reshape(shape), reference.reshape(shape), spacing, tolerance=6)
    assert found["hd95_mm"] == pytest.approx(6 + 0.95 * 6)  # 6 and 12 mm either way
    assert found["surface_dice"] == 0.5
    assert found["volume_ml"] == pytest.approx(0.012)
