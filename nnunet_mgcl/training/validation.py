"""What validation adds to nnU-Net's: TSS of the validation cases and the Dice of each modality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.data.tss_table import TSSTable, read_tss_table
from nnunet_mgcl.evaluation.runs.modalities import summarise_modalities
from nnunet_mgcl.evaluation.runs.tss_validation import SUMMARY, TABLE, in_words, write_tss
from nnunet_mgcl.evaluation.tables.format import number
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.plan.build import build_classifier
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.tss.probability import load_head, trained_heads, tss_probabilities
from nnunet_mgcl.tss.volumes import load_volume


@dataclass(frozen=True)
class ValidatedFold:
    """A fold at its validation, in training or with --val.

    Attributes:
        layout: Paths of the fold.
        dataset_layout: Paths of the dataset.
        config: The resolved `mgcl` block.
        configuration: nnU-Net's.
        dataset_json: Content of `dataset.json`.
        reader: nnU-Net's reader of images.
        ignore_label: nnU-Net's ignore label, if any.
        network: The network that is validated.
        labelled_folder: nnU-Net's preprocessed labelled cases.
        dataset_class: nnU-Net's reader of that folder.
        train_cases, validation_cases: Of the fold.
        log: Takes one line for the user.
    """

    layout: FoldLayout
    dataset_layout: DatasetLayout
    config: MGCLConfig
    configuration: Any
    dataset_json: dict[str, Any]
    reader: Any
    ignore_label: int | None
    network: MGCLNetwork
    labelled_folder: str
    dataset_class: Any
    train_cases: list[str]
    validation_cases: list[str]
    log: Callable[..., None]

    def table(self) -> TSSTable:
        """The known times since stroke."""
        return read_tss_table(self.dataset_layout.tss, self.dataset_class.get_identifiers(self.labelled_folder))

    def probabilities(self, cases: list[str], heads: Mapping[str, TSSClassifier]) -> dict[str, dict[str, float]]:
        """What each head says of each case: head -> case -> probability of TSS < 4.5 h."""
        images = self.dataset_class(self.labelled_folder, cases)
        result: dict[str, dict[str, float]] = {kind: {} for kind in heads}
        for case in cases:
            image = load_volume(images, case)
            for kind, own in tss_probabilities(self.network, heads, image, self.config, self.configuration).items():
                result[kind][case] = own
        return result


def write_validation_extras(fold: ValidatedFold) -> None:
    """Writes `summary_modalities.json`, `tss.csv` and `tss_summary.json` beside nnU-Net's `summary.json`."""
    folder = fold.layout.validation
    if fold.config.lesion_labels:
        summary = summarise_modalities(
            fold.dataset_layout.preprocessed / "gt_segmentations",
            folder,
            fold.dataset_json["file_ending"],
            fold.reader,
            fold.config.lesion_labels,
            fold.ignore_label,
        )
        write_json(folder / "summary_modalities.json", summary)
        for modality, dice in summary["mean"].items():
            fold.log(f"mean validation Dice {modality}: {number(dice)}")
    if (head := fold.network.tss) is None:
        return
    if not bool(head.trained):
        for stale in (TABLE, SUMMARY):  # of an earlier validation with the final checkpoint
            (folder / stale).unlink(missing_ok=True)
        fold.log("no TSS written, the head of this checkpoint is untrained (checkpoint_best)")
        return
    _validate_tss(fold, folder)


def _validate_tss(fold: ValidatedFold, folder: Path) -> None:
    chosen = fold.config.tss.head
    probabilities = fold.probabilities(sorted(fold.validation_cases), _heads(fold))
    summary = write_tss(folder, chosen, probabilities, fold.table())
    told = ", ".join(f"{name} {value}" for name, value in in_words(summary).items())
    fold.log(f"TSS < 4.5 h of the validation cases, head {chosen}: {told}")
    for kind, metrics in summary["heads"].items():
        fold.log(f"TSS head {kind}: validation AUROC {number(metrics['AUROC'])}")


def _heads(fold: ValidatedFold) -> dict[str, TSSClassifier]:
    """The checkpoint's head, and what phase `tss` left of those that it is compared with."""
    chosen = fold.config.tss.head
    assert fold.network.tss is not None
    heads: dict[str, TSSClassifier] = {chosen: fold.network.tss}
    for kind in trained_heads(fold.layout):
        if kind != chosen:
            heads[kind] = build_classifier(fold.configuration, kind).to(fold.network.tss.trained.device)
            load_head(heads[kind], fold.layout, kind)
    return heads
