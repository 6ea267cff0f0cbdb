"""How well one predicted mask matches its reference: overlap, lesions, volume and surface.

The rule of empty masks: where both are empty every measure but the volumes is undefined (None); where one is, it takes
its worst value (0, or for HD95 the diagonal of the image, the longest distance that it could have measured).

Single slices without a thickness have no volumes (None), and distances within their plane.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import cc3d
import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from nnunet_mgcl.data.images.single_slice import is_single_slice, volume_ml
from nnunet_mgcl.evaluation.measures.classification import dice

Mask = npt.NDArray[np.bool_]

MEASURES = ("dice", "lesion_f1", "volume_difference_ml", "hd95_mm", "surface_dice")
"""What is averaged and compared; `volume_ml`, `predicted_volume_ml`, `lesions`, `predicted_lesions` describe a case."""


def segmentation_metrics(
    prediction: Mask, reference: Mask, spacing: Sequence[float], tolerance: float
) -> dict[str, float | int | None]:
    """Measures one mask of one case.

    Args:
        prediction: `(Z, Y, X)` bool.
        reference: `(Z, Y, X)` bool.
        spacing: Voxel size in mm, in the order of the axes.
        tolerance: Of the surface Dice, in mm.

    Returns:
        `MEASURES` and what describes the case. Both masks empty: None, but for volumes and counts.
        A single slice: None for its volumes.

    Raises:
        ValueError: The shapes differ.
    """
    overlap = dice(prediction, reference)  # checks the shapes
    volume, predicted = volume_ml(reference, spacing), volume_ml(prediction, spacing)
    f1, lesions, predicted_lesions = lesion_f1(prediction, reference)
    hd95, surface_dice = surface_metrics(prediction, reference, spacing, tolerance)
    return {
        "dice": overlap,
        "lesion_f1": f1,
        "volume_difference_ml": None if volume is None or predicted is None else abs(predicted - volume),
        "hd95_mm": hd95,
        "surface_dice": surface_dice,
        "volume_ml": volume,
        "predicted_volume_ml": predicted,
        "lesions": lesions,
        "predicted_lesions": predicted_lesions,
    }


def lesion_f1(prediction: Mask, reference: Mask) -> tuple[float | None, int, int]:
    """F1 of whole lesions, as ISLES'22 counts them: one is found where a single voxel of it is shared.

    A lesion is a component of voxels that touch at a face, an edge or a corner.

    Returns:
        2 TP / (2 TP + FP + FN) with TP the found reference lesions, FN the others and FP the predicted lesions that
        share no voxel with the reference; None without any lesion. Then the lesions of reference and prediction.
    """
    own, lesions = cc3d.connected_components(reference, connectivity=26, return_N=True)
    other, predicted_lesions = cc3d.connected_components(prediction, connectivity=26, return_N=True)
    found = len(np.unique(own[reference & prediction]))
    false_positive = predicted_lesions - len(np.unique(other[reference & prediction]))
    denominator = 2 * found + false_positive + (lesions - found)
    return (2 * found / denominator if denominator else None), int(lesions), int(predicted_lesions)


def surface_metrics(
    prediction: Mask, reference: Mask, spacing: Sequence[float], tolerance: float
) -> tuple[float | None, float | None]:
    """95 % Hausdorff distance in mm and surface Dice, by MONAI.

    The surface of a mask are its voxels that have a face in common with the outside. An axis of one voxel is left
    out: in a single slice it would make all voxels surface.
    """
    if not prediction.any() and not reference.any():
        return None, None
    if not prediction.any() or not reference.any():
        sides = [size * n for size, n in zip(spacing, reference.shape, strict=True)]
        return math.hypot(*(sides[1:] if is_single_slice(spacing) else sides)), 0.0
    long = sum(n > 1 for n in reference.shape)
    by_length = sorted(range(reference.ndim), key=lambda axis: reference.shape[axis] == 1)
    kept = sorted(by_length[: max(2, long)])  # a line or a voxel too as a plane: MONAI takes planes and volumes
    shape, size = [reference.shape[axis] for axis in kept], [float(spacing[axis]) for axis in kept]
    p, g = (torch.from_numpy(mask.reshape(1, 1, *shape)) for mask in (prediction, reference))
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # MONAI's about itself
        hd95 = compute_hausdorff_distance(p, g, include_background=True, percentile=95, spacing=size)
        surface_dice = compute_surface_dice(p, g, [tolerance], include_background=True, spacing=size)
    return float(hd95), float(surface_dice)
