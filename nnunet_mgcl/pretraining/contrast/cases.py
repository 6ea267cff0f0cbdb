"""Which cases a branch contrasts, and which it leaves out of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nnunet_mgcl.data.cases.modality_dataset import LabelledCase, ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.datasets import labelled_and_pool_dataset, labelled_dataset, pool_dataset
from nnunet_mgcl.pretraining.monitor.left_out import MOST_WATCHED, cases_left_out, shuffled_cases
from nnunet_mgcl.pretraining.monitor.lesion_counts import (
    LesionCounts,
    confident_cases,
    pseudo_label_notes,
    training_lesions,
)
from nnunet_mgcl.pretraining.monitor.warning_signs import LARGE, unlike_training

FEWEST_CASES = 6
"""Labelled training cases from which on a few are left out of the contrast of the others."""
ONE_CLASS_POOL = "its pseudo-labels hold a single class"

LabelsOf = Callable[[Tensor], Tensor]
"""Labels of the samples in the slices `(Z, 1, X, Y)` of a mask."""


@dataclass(frozen=True)
class ContrastCases:
    """What a branch contrasts.

    Attributes:
        contrasted: The cases of the batches.
        left_out: Labelled training cases that are in no batch.
        unusable: Why the pool's pseudo-labels are not what is contrasted, in words; None where they are, or where
            there is no pool.
    """

    contrasted: ModalityDataset
    left_out: list[str]
    unusable: str | None = None

    def described(self) -> str:
        """The contrasted cases, in words."""
        sources = self.contrasted.sources.values()
        labelled = sum(isinstance(source, LabelledCase) for source in sources)
        return f"{labelled} labelled training cases with their true masks and {len(sources) - labelled} pool cases"


def contrast_cases(context: FoldContext, branch: Branch, labels_of: LabelsOf) -> ContrastCases | None:
    """The branch's pool with its second pseudo-labels; where these are of no use, true masks.

    Those are of the fold's labelled training cases, less a few, with the pool cases whose pseudo-labels hold a lesion
    of a possible size and are confident. The others stay out: a lesion that was not found would be contrasted as
    healthy.

    Returns:
        None where even the true masks hold a single class.
    """
    unusable, helpful = None, []
    if context.pool.get(branch.name):
        pool, training = pool_dataset(context, branch, round_=2), training_lesions(context, branch)
        voxels = {case: own["voxels"] for case, own in pseudo_label_notes(context, branch, round_=2).items()}
        unusable = unlike_training(LesionCounts.of(list(voxels.values())), training)
        if unusable is None and any(voxels.values()) and has_two_classes(pool, labels_of):
            return ContrastCases(pool, shuffled_cases(context, branch)[:MOST_WATCHED])
        unusable = unusable or ONE_CLASS_POOL
        confident = confident_cases(context, branch, round_=2)
        helpful = [case for case in confident if voxels[case] <= LARGE * training.voxels]
    for left_out in (cases_left_out(context, branch, FEWEST_CASES), []):
        own = [case for case in context.cases_of(branch) if case not in left_out]
        if has_two_classes(labelled_dataset(context, branch, own), labels_of):
            dataset = labelled_and_pool_dataset(context, branch, helpful, round_=2, labelled=own)
            return ContrastCases(dataset, left_out, unusable)
    return None


def has_two_classes(dataset: ModalityDataset, labels_of: LabelsOf) -> bool:
    """Whether the masks hold samples of both classes; contrast needs both."""
    seen: set[int] = set()
    for identifier in dataset.identifiers:
        mask = np.asarray(dataset.load_case(identifier)[1][:], dtype=np.int16)
        seen.update(labels_of(torch.from_numpy(mask).transpose(0, 1)).unique().tolist())
        if {0, 1} <= seen:
            return True
    return False
