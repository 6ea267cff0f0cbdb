"""Labelled cases that lack a modality, in `segment` and in nnU-Net's validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.system.errors import UserError

if TYPE_CHECKING:
    from nnunet_mgcl.training.base_trainer import BaseTrainer


@contextmanager
def batch_as_incomplete(trainer: BaseTrainer, batch: Mapping[str, Any]) -> Iterator[None]:
    """Within it the network reads of each sample of a batch the branches whose images its case has.

    Samples of the pool, which stand behind those of `keys`, are put together of every modality.
    """
    if not trainer.incomplete:
        yield
        return
    present = torch.ones(len(batch["data"]), len(trainer.incomplete.modalities), dtype=torch.bool)
    for sample, case in enumerate(batch["keys"]):
        present[sample] = trainer.incomplete.mask(case)
    with trainer.mgcl_network.with_cases(present.to(trainer.device)):
        yield


@contextmanager
def validating_incomplete(trainer: BaseTrainer) -> Iterator[None]:
    """Within it nnU-Net's validation computes the branches whose images the case has that it has loaded last."""
    if not trainer.incomplete:
        yield
        return
    network, original = trainer.mgcl_network, trainer.dataset_class

    class Following(original):  # type: ignore[misc,valid-type]  # the files decide which
        def load_case(self, identifier: str) -> Any:
            network.present = trainer.incomplete.present(identifier)
            return super().load_case(identifier)

    trainer.dataset_class = Following
    try:
        yield
    finally:
        trainer.dataset_class, network.present = original, list(range(len(network.branches)))


def require_enough(context: FoldContext) -> None:
    """Makes sure that every branch has cases to learn from, and the lesion head complete ones of both classes.

    Raises:
        UserError: One has not.
    """
    where, expected = f"{context.dataset_layout.name}, fold {context.fold}", "one training case at least that has it"
    for branch in context.branches:
        if not context.cases_of(branch):
            remedy = f"add cases, or leave {branch.name} out of the dataset"
            raise UserError(where, f"all training cases lack {branch.name} (mgcl.missing)", expected, remedy)
    tss = context.config.tss
    if not context.incomplete or not tss.enabled or "lesion" not in {tss.head, *tss.compared}:
        return
    assert context.table is not None
    complete = context.incomplete.with_all(context.train_cases, tss.modalities or context.incomplete.modalities)
    classes = {context.table.positive(case) for case in complete} - {None}
    if len(classes) < 2:
        raise UserError(
            where, f"{len(complete)} training cases with all modalities of the TSS head, not of both TSS classes",
            "both classes among them, which the head `lesion` is fitted on",
            "add such cases, or plan without this head: --set tss.head=mrff --set 'tss.compared=[\"mrff\"]'",
        )  # fmt: skip
