"""What validation adds to nnU-Net's: TSS of the validation cases and the Dice of each modality."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.data.tss_table import TSSTable, read_tss_table
from nnunet_mgcl.data.volumes import load_volume
from nnunet_mgcl.evaluation.metrics import classification_metrics
from nnunet_mgcl.evaluation.modalities import summarise_modalities
from nnunet_mgcl.files import write_json, write_text
from nnunet_mgcl.phases.tss import tss_probability

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
            trainer.print_to_log_file(f"MGCL: mean validation Dice {modality}: {dice}")
    if (head := trainer.mgcl_network.tss) is None:
        return
    if not bool(head.trained):
        for stale in ("tss.csv", "tss_summary.json"):  # of an earlier validation with the final checkpoint
            (folder / stale).unlink(missing_ok=True)
        trainer.print_to_log_file("MGCL: no TSS written, the head of this checkpoint is untrained (checkpoint_best)")
        return
    _validate_tss(trainer, folder)


def _validate_tss(trainer: MGCLTrainer, folder: Path) -> None:
    _, cases = trainer.do_split()
    images = trainer.dataset_class(trainer.preprocessed_dataset_folder, list(cases))
    table = read_tss_table(trainer.dataset_layout.tss, images.get_identifiers(trainer.preprocessed_dataset_folder))
    probabilities = {}
    for case in sorted(cases):
        image = load_volume(images, case)
        probability = tss_probability(trainer.mgcl_network, image, trainer.config, trainer.configuration_manager)
        assert probability is not None
        probabilities[case] = probability
    write_text(folder / "tss.csv", _tss_csv(probabilities, table))
    summary = summarise_tss(probabilities, table)
    write_json(folder / "tss_summary.json", summary)
    trainer.print_to_log_file(f"MGCL: TSS < 4.5 h on {summary['cases']} validation cases: {summary}")


def summarise_tss(probabilities: Mapping[str, float], table: TSSTable) -> dict[str, Any]:
    """ACC, SEN, SPE (Eq. 18-20) and AUROC over the cases with a known TSS."""
    known = [case for case in probabilities if table.positive(case) is not None]
    metrics = classification_metrics([probabilities[c] for c in known], [int(bool(table.positive(c))) for c in known])
    return {"cases": len(known), "positive": sum(bool(table.positive(c)) for c in known), **metrics}


def _tss_csv(probabilities: Mapping[str, float], table: TSSTable) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "tss_hours", "tss_class", "probability", "predicted_class"])
    for case, probability in probabilities.items():
        hours, positive = table.hours(case), table.positive(case)
        writer.writerow(
            [
                case,
                "" if hours is None else hours,
                "" if positive is None else int(positive),
                f"{probability:.6f}",
                int(probability >= 0.5),
            ]
        )
    return text.getvalue()
