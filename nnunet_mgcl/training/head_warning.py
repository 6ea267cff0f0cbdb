"""A TSS head that fits its training cases and does not beat chance on the fold's validation cases."""

from __future__ import annotations

from math import sqrt

from nnunet_mgcl.engine.training_warnings import TrainingWarning, TrainingWarnings
from nnunet_mgcl.evaluation.measures.classification import classification_metrics
from nnunet_mgcl.evaluation.runs.tss_validation import read_tss_summary
from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.training.base_trainer import BaseTrainer
from nnunet_mgcl.training.validation import head_probabilities

FITTED = 0.9
"""AUROC of the training cases from which on a head has learned them."""
NORMAL_95 = 1.96


def warn_of_head(trainer: BaseTrainer) -> None:
    """Replaces the fold's warning of its TSS head, after the validation; costs a pass over its training cases at most.

    Args:
        trainer: With the network that was validated.
    """
    layout = trainer.fold_layout
    if not (layout.validation / "tss_summary.json").is_file():
        return
    summary = read_tss_summary(layout.validation / "tss_summary.json")
    auroc, positive = summary["AUROC"], summary["positive"]
    negative, found = summary["cases"] - positive, None
    if auroc is not None and reaches_chance(auroc, positive, negative):
        found = head_warning(trainer.memory, _training_auroc(trainer), auroc, summary["cases"])
    TrainingWarnings(layout.warnings, trainer.log).replace("tss", trainer.config.tss.head, [found] if found else [])


def head_warning(
    memory: MemoryEstimate, train_auroc: float | None, validation_auroc: float, cases: int
) -> TrainingWarning | None:
    """The warning of a head that cannot be told from chance, where it fits its training cases.

    Args:
        memory: The configuration that is trained.
        train_auroc: Of the cases that the head was trained on; None where it is undefined.
        validation_auroc: Of the fold's validation cases.
        cases: How many these are.
    """
    if train_auroc is None or train_auroc < FITTED:
        return None
    tss = memory.config.tss
    remedy = "add training cases with a known TSS"
    if tss.head != "lesion":
        remedy += f", or fewer weights: {memory.plan_command({'tss.head': 'lesion'}, 'lesion')}"
    return TrainingWarning(
        "tss",
        tss.head,
        f"the head fits its training cases (AUROC {train_auroc:.2f}) and cannot be told from chance on the "
        f"{cases} validation cases (AUROC {validation_auroc:.2f}, its 95 % interval holds 0.5)",
        remedy,
    )


def reaches_chance(auroc: float, positive: int, negative: int) -> bool:
    """Whether the 95 % interval of an AUROC holds 0.5 or less, by Hanley and McNeil, Radiology 143 (1982) 29-36."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (positive - 1) * (q1 - auroc**2) + (negative - 1) * (q2 - auroc**2)
    return auroc - NORMAL_95 * sqrt(max(variance, 0) / (positive * negative)) <= 0.5


def _training_auroc(trainer: BaseTrainer) -> float | None:
    """Of the training cases with a known TSS, as they are and not augmented."""
    table, (cases, _) = trainer.tss_table(), trainer.do_split()
    known = [case for case in cases if table.positive(case) is not None]
    assert trainer.mgcl_network.tss is not None
    said = head_probabilities(trainer, known, {"head": trainer.mgcl_network.tss})["head"]
    metrics = classification_metrics([*said.values()], [int(bool(table.positive(case))) for case in known])
    return metrics["AUROC"]  # type: ignore[return-value]
