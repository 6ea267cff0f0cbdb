"""A validation case as the network reads it, and which one of them the report shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.data.cases.labelled import case_spacing
from nnunet_mgcl.data.images.head import head_mask
from nnunet_mgcl.engine.context import Branch
from nnunet_mgcl.pictures.slices import fullest_slice
from nnunet_mgcl.report.analysis.network_view import NetworkView
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold


@dataclass(frozen=True)
class FoldCase:
    """One preprocessed case; all arrays have the network's axes.

    Attributes:
        name: The case.
        images: Each branch's channels, `(C, Z, Y, X)`.
        lesions: Each branch's reference, `(Z, Y, X)` bool.
        annotated: `(Z, Y, X)` bool: neither under the ignore label nor outside nnU-Net's nonzero region.
        spacing: In mm, `(z, y, x)`.
        view: How to turn it for the eye.
    """

    name: str
    images: list[np.ndarray]
    lesions: list[np.ndarray]
    annotated: np.ndarray
    spacing: tuple[float, ...]
    view: NetworkView

    @classmethod
    def load(cls, fold: TrainedFold, name: str) -> FoldCase:
        """Reads a validation case."""
        images, lesions = [], []
        for branch in fold.branches:
            data, target, _, properties = fold.dataset(branch).load_case(name)
            images.append(np.array(data[:], dtype=np.float32))
            lesion, annotated = _lesion(branch, target)
            lesions.append(lesion)
        spacing = case_spacing(fold.run.plan.spacing, properties, fold.run.plans.transpose_forward)
        view = NetworkView.of(properties, fold.run.plans.transpose_backward)
        return cls(name, images, lesions, annotated, spacing, view)

    @property
    def lesion(self) -> np.ndarray:
        """`(Z, Y, X)` bool: lesion in any modality."""
        return np.logical_or.reduce(self.lesions)

    def head(self, branch: int) -> np.ndarray:
        """`(Z, Y, X)` bool: the annotated voxels of the head in the branch's first channel, and of its lesion."""
        image = sitk.GetImageFromArray(self.images[branch][0])
        image.SetSpacing(self.spacing[::-1])
        return (head_mask(image) | self.lesions[branch]) & self.annotated


def choose_case(fold: TrainedFold) -> str:
    """The validation case that the report draws: of those with a lesion in most modalities that of median volume.

    The volumes of all modalities count together; of two in the middle it is the smaller one. Where no case has a
    lesion, it is the first.
    """
    sizes = {case: _lesion_volumes(fold, case) for case in fold.cases}
    most = max(np.count_nonzero(volumes) for volumes in sizes.values())
    candidates = [case for case, volumes in sizes.items() if np.count_nonzero(volumes) == most]
    ordered = sorted(candidates, key=lambda case: sum(sizes[case])) if most else candidates[:1]
    return ordered[(len(ordered) - 1) // 2]


def largest_slice(lesions: list[np.ndarray]) -> int:
    """The slice with most lesion voxels of all modalities `(Z, Y, X)` together; the middle one without any."""
    fullest = fullest_slice(lesions)
    return len(lesions[0]) // 2 if fullest is None else fullest


def describe_choice(case: FoldCase, fold: int) -> str:
    """What `choose_case` and `largest_slice` chose, for a caption."""
    if not case.lesion.any():
        return f"Case {case.name}, the first of fold {fold}: no validation case has a lesion. Its middle slice."
    return (
        f"Validation case {case.name} of fold {fold}, that of median lesion volume among those with a lesion in most "
        "modalities; the slice with the largest reference."
    )


def _lesion_volumes(fold: TrainedFold, name: str) -> list[float]:
    """The branches' reference volumes in cubic mm."""
    case = FoldCase.load(fold, name)
    return [float(lesion.sum() * np.prod(case.spacing)) for lesion in case.lesions]


def _lesion(branch: Branch, target: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which voxels of a target `(1, Z, Y, X)` are lesion, and which are annotated."""
    labels = np.asarray(target[:])[0]
    annotated = (labels >= 0) & (labels != branch.label_manager.ignore_label)
    return (labels > 0) & annotated, annotated
