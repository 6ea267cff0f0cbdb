"""How many cases show a lesion, and how large: of true masks and of pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.datasets import labelled_dataset
from nnunet_mgcl.pretraining.pseudo_label_notes import NOTES, read_notes
from nnunet_mgcl.system.errors import UserError, some


@dataclass(frozen=True)
class LesionCounts:
    """Attributes: cases; with_lesion: how many of them show one; voxels: lesion voxels of a case, in the mean."""

    cases: int
    with_lesion: int
    voxels: float

    @classmethod
    def of(cls, voxels: Sequence[int]) -> LesionCounts:
        """Counts cases by their lesion voxels."""
        return cls(len(voxels), sum(own > 0 for own in voxels), float(np.mean(voxels)) if len(voxels) else 0.0)

    @property
    def share(self) -> float:
        """Of the cases that show a lesion."""
        return self.with_lesion / max(self.cases, 1)


def pseudo_label_notes(context: FoldContext, branch: Branch, round_: int) -> dict[str, dict[str, Any]]:
    """Of each pool case what was noted with its pseudo-label: `confidence`, None without lesion, and its `voxels`."""
    folder = context.layout.pseudo_labels(round_, branch.name)
    notes = read_notes(folder, context.pool[branch.name])
    if missing := [case for case in context.pool[branch.name] if case not in notes]:
        remedy = "restore the file, or train the fold again"
        raise UserError(folder / NOTES, f"nothing about {some(missing)}", "a line for every pool case", remedy)
    return notes


def confident_cases(context: FoldContext, branch: Branch, round_: int = 1) -> list[str]:
    """Pool cases whose pseudo-label of a round holds a lesion and is confident enough to train on."""
    threshold = context.config.block("pseudo_label").confidence
    notes = pseudo_label_notes(context, branch, round_)
    return [case for case, own in notes.items() if own["confidence"] is not None and own["confidence"] >= threshold]


def lesion_voxels(dataset: ModalityDataset, identifier: str, branch: Branch) -> int:
    """Voxels of a mask that are foreground; the ignore label is none."""
    mask = np.asarray(dataset.load_case(identifier)[1][:])
    return int(((mask > 0) & (mask != branch.label_manager.ignore_label)).sum())


def training_lesions(context: FoldContext, branch: Branch) -> LesionCounts:
    """How many labelled training cases have a lesion, and how large these are."""
    dataset = labelled_dataset(context, branch)
    return LesionCounts.of([lesion_voxels(dataset, case, branch) for case in dataset.identifiers])
