"""What validation adds to nnU-Net's: TSS of the validation cases and the Dice of each modality."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nnunet_mgcl.evaluation.calibration.stored import JOIN
from nnunet_mgcl.evaluation.runs.modalities import summarise_modalities
from nnunet_mgcl.evaluation.runs.tss_validation import SUMMARY, TABLE, in_words, write_tss
from nnunet_mgcl.evaluation.tables.format import number
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.plan.build import build_classifier
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.training.base_trainer import BaseTrainer
from nnunet_mgcl.tss.probability import load_head, trained_heads, tss_probabilities
from nnunet_mgcl.tss.volumes import load_volume


def write_validation_extras(trainer: BaseTrainer) -> None:
    """Writes `summary_modalities.json`, `tss.csv` and `tss_summary.json` beside nnU-Net's `summary.json`."""
    folder = trainer.fold_layout.validation
    if trainer.config.lesion_labels:
        summary = summarise_modalities(
            trainer.dataset_layout.preprocessed / "gt_segmentations",
            folder,
            trainer.dataset_json["file_ending"],
            trainer.plans_manager.image_reader_writer_class(),
            trainer.config.lesion_labels,
            trainer.label_manager.ignore_label,
            trainer.incomplete,
        )
        write_json(folder / "summary_modalities.json", summary)
        for modality, dice in summary["mean"].items():
            trainer.log(f"mean validation Dice {modality}: {number(dice)}")
    if (head := trainer.mgcl_network.tss) is None:
        return
    if not bool(head.trained):
        for stale in (TABLE, SUMMARY):  # of an earlier validation with the final checkpoint
            (folder / stale).unlink(missing_ok=True)
        trainer.log("no TSS written, the head of this checkpoint is untrained (checkpoint_best)")
        return
    _validate_tss(trainer, folder)


def _validate_tss(trainer: BaseTrainer, folder: Path) -> None:
    chosen = trainer.config.tss.head
    _, cases = trainer.do_split()
    said = head_probabilities(trainer, sorted(cases), _heads(trainer))
    lacks = {case: JOIN.join(trainer.incomplete.lacking(case)) for case in trainer.incomplete.missing}
    summary = write_tss(folder, chosen, said, trainer.tss_table(), lacks)
    told = ", ".join(f"{name} {value}" for name, value in in_words(summary).items())
    trainer.log(f"TSS < 4.5 h of the validation cases, head {chosen}: {told}")
    for kind, metrics in summary["heads"].items():
        trainer.log(f"TSS head {kind}: validation AUROC {number(metrics['AUROC'])}")


def _heads(trainer: BaseTrainer) -> dict[str, TSSClassifier]:
    """The checkpoint's head, and what phase `tss` left of those that it is compared with."""
    chosen, head = trainer.config.tss.head, trainer.mgcl_network.tss
    assert head is not None
    heads: dict[str, TSSClassifier] = {chosen: head}
    for kind in trained_heads(trainer.fold_layout):
        if kind != chosen:
            heads[kind] = build_classifier(trainer.configuration_manager, kind).to(head.trained.device)
            load_head(heads[kind], trainer.fold_layout, kind)
    return heads


def head_probabilities(
    trainer: BaseTrainer, cases: list[str], heads: Mapping[str, TSSClassifier]
) -> dict[str, dict[str, float]]:
    """What each head says of each case: head -> case -> probability of TSS < 4.5 h.

    Of a case none of whose modalities a head reads, or whose modalities it has no fit for, it says nothing.
    """
    images = trainer.dataset_class(trainer.preprocessed_dataset_folder, cases)
    model = trainer.mgcl_network, heads
    plan = trainer.config, trainer.configuration_manager
    said = {}
    for case in cases:
        with trainer.mgcl_network.with_present(trainer.incomplete.present(case)):
            said[case] = tss_probabilities(*model, load_volume(images, case), *plan)
    return {kind: {case: own[kind] for case, own in said.items() if kind in own} for kind in heads}
