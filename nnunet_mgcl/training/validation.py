"""What validation adds to nnU-Net's: TSS of the validation cases and the Dice of each modality."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.evaluation.runs.modalities import summarise_modalities
from nnunet_mgcl.evaluation.runs.tss_validation import SUMMARY, TABLE, in_words, write_tss
from nnunet_mgcl.evaluation.tables.format import number
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.plan.build import build_classifier
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.tss.phase import load_head, trained_heads, tss_probabilities
from nnunet_mgcl.tss.volumes import load_volume

if TYPE_CHECKING:
    from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


def write_validation_extras(trainer: MGCLTrainer) -> None:
    """Writes `summary_modalities.json`, `tss.csv` and `tss_summary.json` beside nnU-Net's `summary.json`."""
    folder = FoldLayout(Path(trainer.output_folder)).validation
    if trainer.config.lesion_labels:
        summary = summarise_modalities(
            trainer.dataset_layout.preprocessed / "gt_segmentations",
            folder,
            trainer.dataset_json["file_ending"],
            trainer.plans_manager.image_reader_writer_class(),
            trainer.config.lesion_labels,
            trainer.label_manager.ignore_label,
        )
        write_json(folder / "summary_modalities.json", summary)
        for modality, dice in summary["mean"].items():
            trainer.print_to_log_file(f"MGCL: mean validation Dice {modality}: {number(dice)}")
    if (head := trainer.mgcl_network.tss) is None:
        return
    if not bool(head.trained):
        for stale in (TABLE, SUMMARY):  # of an earlier validation with the final checkpoint
            (folder / stale).unlink(missing_ok=True)
        trainer.print_to_log_file("MGCL: no TSS written, the head of this checkpoint is untrained (checkpoint_best)")
        return
    _validate_tss(trainer, folder)


def _validate_tss(trainer: MGCLTrainer, folder: Path) -> None:
    _, cases = trainer.do_split()
    images = trainer.dataset_class(trainer.preprocessed_dataset_folder, list(cases))
    table = read_tss_table(trainer.dataset_layout.tss, images.get_identifiers(trainer.preprocessed_dataset_folder))
    heads, chosen = _heads(trainer), trainer.config.tss.head
    probabilities: dict[str, dict[str, float]] = {kind: {} for kind in heads}
    for case in sorted(cases):
        image = load_volume(images, case)
        found = tss_probabilities(trainer.mgcl_network, heads, image, trainer.config, trainer.configuration_manager)
        for kind, probability in found.items():
            probabilities[kind][case] = probability
    summary = write_tss(folder, chosen, probabilities, table)
    told = ", ".join(f"{name} {value}" for name, value in in_words(summary).items())
    trainer.print_to_log_file(f"MGCL: TSS < 4.5 h of the validation cases, head {chosen}: {told}")
    for kind, metrics in summary["heads"].items():
        trainer.print_to_log_file(f"MGCL: TSS head {kind}: validation AUROC {number(metrics['AUROC'])}")


def _heads(trainer: MGCLTrainer) -> dict[str, TSSClassifier]:
    """The checkpoint's head, and what phase `tss` left of those that it is compared with."""
    network, fold, chosen = trainer.mgcl_network, FoldLayout(Path(trainer.output_folder)), trainer.config.tss.head
    assert network.tss is not None
    heads: dict[str, TSSClassifier] = {chosen: network.tss}
    for kind in trained_heads(fold):
        if kind != chosen:
            heads[kind] = build_classifier(trainer.configuration_manager, kind).to(network.tss.trained.device)
            load_head(heads[kind], fold, kind)
    return heads
