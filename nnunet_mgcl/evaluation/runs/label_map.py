"""Reads a segmentation, of a user or of a model, takes it apart into the masks of its targets, and measures them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunet_mgcl.data.images.checks import image_mistake
from nnunet_mgcl.evaluation.measures.segmentation import segmentation_metrics
from nnunet_mgcl.system.errors import UserError, reason

Targets = Mapping[str, list[int]]
"""The labels that make up each target."""
Measures = dict[str, dict[str, float | int | None]]
"""What `segmentation_metrics` says of each target."""


def read_label_map(path: Path, reader: BaseReaderWriter, remedy: str) -> tuple[np.ndarray, dict[str, Any]]:
    """A label map `(Z, Y, X)` and its properties, with `spacing` in mm.

    Args:
        path: The file.
        reader: That of the plan.
        remedy: What the user can do about a wrong one.

    Raises:
        UserError: It is not there or not whole, has no size or spacing, or more than one volume.
    """
    if mistake := image_mistake(path):
        raise UserError(path, *mistake, remedy)
    try:
        volumes, properties = reader.read_seg(str(path))
    except Exception as error:  # the readers' libraries have errors of their own
        raise UserError(path, f"cannot be read ({reason(error)})", "a segmentation", remedy) from None
    if len(volumes) != 1:
        raise UserError(path, f"{len(volumes)} volumes (4D)", "one label a voxel", remedy)
    return volumes[0], properties


def target_masks(
    prediction: np.ndarray, reference: np.ndarray, targets: Targets, ignore_label: int | None
) -> dict[str, tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """The predicted and the true mask of each target, without the voxels of nnU-Net's ignore label.

    Args:
        prediction: Label map `(Z, Y, X)`.
        reference: The true one.
        targets: The labels of each.
        ignore_label: Of the reference, if there is one.
    """
    counted = np.ones(reference.shape, bool) if ignore_label is None else reference != ignore_label
    return {
        name: (np.isin(prediction, labels) & counted, np.isin(reference, labels) & counted)
        for name, labels in targets.items()
    }


def measure_files(
    prediction: Path, reference: Path, reader: BaseReaderWriter, labels: tuple[Targets, int | None], tolerance: float,
    remedies: tuple[str, str],
) -> Measures:  # fmt: skip
    """Measures a predicted label map against the true one.

    Args:
        prediction: Its file.
        reference: That of the true one.
        reader: That of the plan.
        labels: The labels of each target, and nnU-Net's ignore label if there is one.
        tolerance: Of the surface Dice, in mm.
        remedies: What the user can do about a file that is of no use, and about shapes that differ.

    Raises:
        UserError: One cannot be read, or their shapes differ.
    """
    predicted, _ = read_label_map(prediction, reader, remedies[0])
    true, properties = read_label_map(reference, reader, remedies[0])
    if predicted.shape != true.shape:
        raise UserError(prediction, f"shape {predicted.shape}", f"{true.shape}, as its reference", remedies[1])
    return measure_label_maps(predicted, true, properties["spacing"], *labels, tolerance)


def measure_label_maps(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], targets: Targets,
    ignore_label: int | None, tolerance: float,
) -> Measures:  # fmt: skip
    """The measures of each target (`segmentation_metrics`) of two label maps `(Z, Y, X)` of one shape."""
    masks = target_masks(prediction, reference, targets, ignore_label)
    return {name: segmentation_metrics(*pair, spacing, tolerance) for name, pair in masks.items()}
