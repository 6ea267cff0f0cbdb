"""Which cases a phase reads, as nnU-Net datasets of one branch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_mgcl.data.cases.modality_dataset import (
    LabelledCase,
    ModalityDataset,
    PoolCase,
    labelled_sources,
    pool_sources,
)
from nnunet_mgcl.engine.context import Branch, PhaseContext
from nnunet_mgcl.pretraining.monitor.warning_signs import LesionCounts
from nnunet_mgcl.system.files import read_json


def labelled_dataset(context: PhaseContext, branch: Branch, cases: Sequence[str] | None = None) -> ModalityDataset:
    """The fold's labelled training cases, or some of them."""
    return ModalityDataset(_labelled(context, branch, context.train_cases if cases is None else cases))


def pool_dataset(context: PhaseContext, branch: Branch, round_: int | None = None) -> ModalityDataset:
    """The branch's whole pool, with the pseudo-labels of a round or without any."""
    return ModalityDataset(_pool(context, branch, context.pool[branch.name], round_))


def labelled_and_pool_dataset(
    context: PhaseContext,
    branch: Branch,
    pool_cases: Sequence[str],
    round_: int,
    labelled: Sequence[str] | None = None,
) -> ModalityDataset:
    """All or some labelled training cases together with some pool cases and their pseudo-labels of a round."""
    sources = _labelled(context, branch, context.train_cases if labelled is None else labelled)
    return ModalityDataset([*sources, *_pool(context, branch, pool_cases, round_)])


def pseudo_label_notes(context: PhaseContext, branch: Branch, round_: int) -> dict[str, dict[str, Any]]:
    """Of each pool case what was noted with its pseudo-label: `confidence`, None without lesion, and its `voxels`."""
    folder = context.fold_layout.pseudo_labels(round_, branch.name)
    return {case: read_json(folder / f"{case}.json") for case in context.pool[branch.name]}


def confident_cases(context: PhaseContext, branch: Branch, round_: int = 1) -> list[str]:
    """Pool cases whose pseudo-label of a round holds a lesion and is confident enough to train on."""
    threshold = context.config.pseudo_label.confidence
    notes = pseudo_label_notes(context, branch, round_)
    return [case for case, own in notes.items() if own["confidence"] is not None and own["confidence"] >= threshold]


def lesion_voxels(dataset: ModalityDataset, identifier: str, branch: Branch) -> int:
    """Voxels of a mask that are foreground; the ignore label is none."""
    mask = np.asarray(dataset.load_case(identifier)[1][:])
    return int(((mask > 0) & (mask != branch.label_manager.ignore_label)).sum())


def training_lesions(context: PhaseContext, branch: Branch) -> LesionCounts:
    """How many labelled training cases have a lesion, and how large these are."""
    dataset = labelled_dataset(context, branch)
    return LesionCounts.of([lesion_voxels(dataset, case, branch) for case in dataset.identifiers])


def _labelled(context: PhaseContext, branch: Branch, cases: Sequence[str]) -> list[LabelledCase]:
    return labelled_sources(
        Path(context.labelled_folder),
        cases,
        branch.channels,
        branch.lesion_labels,
        context.ignore_label,
    )


def _pool(context: PhaseContext, branch: Branch, cases: Sequence[str], round_: int | None) -> list[PoolCase]:
    images = context.dataset_layout.unlabelled(branch.configuration.data_identifier, branch.name)
    masks = context.fold_layout.pseudo_labels(round_, branch.name) if round_ else None
    return pool_sources(images, cases, masks)
