"""Which cases a phase reads, as nnU-Net datasets of one branch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnunet_mgcl.data.modality_dataset import (
    LabelledCase,
    ModalityDataset,
    PoolCase,
    labelled_sources,
    pool_sources,
)
from nnunet_mgcl.files import read_json
from nnunet_mgcl.phases.context import Branch, PhaseContext


def labelled_dataset(context: PhaseContext, branch: Branch, cases: Sequence[str] | None = None) -> ModalityDataset:
    """The fold's labelled training cases, or some of them."""
    return ModalityDataset(_labelled(context, branch, context.train_cases if cases is None else cases))


def pool_dataset(context: PhaseContext, branch: Branch, round_: int | None = None) -> ModalityDataset:
    """The branch's whole pool, with the pseudo-labels of a round or without any."""
    return ModalityDataset(_pool(context, branch, context.pool[branch.name], round_))


def labelled_and_pool_dataset(
    context: PhaseContext, branch: Branch, pool_cases: Sequence[str], round_: int
) -> ModalityDataset:
    """Labelled training cases together with some pool cases and their pseudo-labels of a round."""
    return ModalityDataset(
        [*_labelled(context, branch, context.train_cases), *_pool(context, branch, pool_cases, round_)]
    )


def confident_cases(context: PhaseContext, branch: Branch) -> list[str]:
    """Pool cases whose first pseudo-label is confident enough to train on."""
    folder = context.fold_layout.pseudo_labels(1, branch.name)
    threshold = context.config.pseudo_label.confidence
    confidences = {case: read_json(folder / f"{case}.json")["confidence"] for case in context.pool[branch.name]}
    return [case for case, confidence in confidences.items() if confidence is not None and confidence >= threshold]


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
