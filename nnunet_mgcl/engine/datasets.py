"""Which cases a phase reads, as nnU-Net datasets of one branch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nnunet_mgcl.data.cases.modality_dataset import (
    CaseSource,
    LabelledCase,
    ModalityDataset,
    PoolCase,
    labelled_sources,
)
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext, RunContext


def labelled_dataset(context: FoldContext, branch: Branch, cases: Sequence[str] | None = None) -> ModalityDataset:
    """The fold's labelled training cases, or some of them."""
    return ModalityDataset(_labelled(context, branch, context.cases_of(branch) if cases is None else cases))


def pool_dataset(context: FoldContext, branch: Branch, round_: int | None = None) -> ModalityDataset:
    """The branch's whole pool, with the pseudo-labels of a round or without any."""
    return ModalityDataset(_pool(context, branch, context.pool[branch.name], round_))


def unlabelled_dataset(context: RunContext, branch: Branch) -> ModalityDataset:
    """The branch's images without any label."""
    return ModalityDataset(context.unlabelled_cases(branch))


def labelled_and_pool_dataset(
    context: FoldContext, branch: Branch, pool_cases: Sequence[str], round_: int, labelled: Sequence[str] | None = None
) -> ModalityDataset:
    """All or some labelled training cases together with some pool cases and their pseudo-labels of a round."""
    sources = _labelled(context, branch, context.cases_of(branch) if labelled is None else labelled)
    return ModalityDataset([*sources, *_pool(context, branch, pool_cases, round_)])


def kinds(dataset: ModalityDataset) -> dict[str, float]:
    """What a loss knows of the cases: kind (`costs.KINDS`) -> share of the cases."""
    counts = Counter(map(_kind, dataset.sources.values()))
    return {kind: count / counts.total() for kind, count in counts.items()}


def _kind(source: CaseSource) -> str:
    if isinstance(source, PoolCase):
        return "pseudo_labelled" if source.pseudo_labels else "unlabelled"
    return "unlabelled" if source.lesion_labels == () else "labelled"


def _labelled(context: FoldContext, branch: Branch, cases: Sequence[str]) -> list[LabelledCase]:
    folder = Path(context.labelled_folder)
    return labelled_sources(folder, cases, branch.channels, branch.lesion_labels, context.ignore_label)


def _pool(context: FoldContext, branch: Branch, cases: Sequence[str], round_: int | None) -> list[PoolCase]:
    masks = context.layout.pseudo_labels(round_, branch.name) if round_ else None
    return context.pool_sources(branch, cases, masks)
