"""What one trained fold achieved on its validation cases, from the files it left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.engine.training_warnings import TrainingWarning, read_warnings
from nnunet_mgcl.evaluation.runs.label_map import read_label_map
from nnunet_mgcl.evaluation.runs.tss_validation import VALIDATE_AGAIN, read_tss_summary
from nnunet_mgcl.evaluation.runs.validated_run import ValidatedRun
from nnunet_mgcl.pictures.case_panels import CasePanels
from nnunet_mgcl.pictures.overlay import draw_overlay
from nnunet_mgcl.plan.dataset_json import read_dataset_json
from nnunet_mgcl.report.case_images import CaseImages, channel_files, own_targets
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there
from nnunet_mgcl.system.typed_json import OpenModel, read_typed


class _Measures(OpenModel):
    Dice: float | None


class _Summary(OpenModel):
    """nnU-Net's `summary.json`."""

    mean: dict[str, _Measures]


class _Dice(OpenModel):
    """`summary_modalities.json`."""

    mean: dict[str, float | None]


@dataclass(frozen=True)
class FoldSummary:
    """What `mgcl summary` prints.

    Attributes:
        dice: Mean Dice of each target.
        tss: `tss_summary.json`; None without one.
        segmentation: One case's.
        warnings: What went wrong in training without ending it.
    """

    dice: dict[str, float | None]
    tss: dict[str, Any] | None
    segmentation: Path
    warnings: list[TrainingWarning]


def summarise_fold(model: Path, fold: str) -> FoldSummary:
    """Collects the numbers of a validated fold.

    Raises:
        UserError: The fold has no finished validation.
    """
    layout = FoldLayout(model / f"fold_{fold}")
    validation = layout.validation
    if not (validation / "summary.json").is_file():
        raise UserError(
            validation / "summary.json", "no such file", "a validated fold", "finish the training, or run it with --val"
        )
    by_modality, tss = validation / "summary_modalities.json", validation / "tss_summary.json"
    dataset_json = read_dataset_json(model / "dataset.json")
    if is_there(by_modality):
        dice = read_typed(_Dice, by_modality, VALIDATE_AGAIN).mean
    else:
        names = {_key(value): name for name, value in dataset_json["labels"].items()}
        means = read_typed(_Summary, validation / "summary.json", VALIDATE_AGAIN).mean
        dice = {names.get(label, label): measures.Dice for label, measures in means.items()}
    segmentations = sorted(validation.glob(f"*{dataset_json['file_ending']}"))
    if not segmentations:
        raise UserError(validation, "no segmentation", "those of the validation cases", VALIDATE_AGAIN)
    warnings = read_warnings(layout.warnings)
    return FoldSummary(dice, read_tss_summary(tss) if is_there(tss) else None, segmentations[0], warnings)


def _key(label: int | list[int]) -> str:
    """A label, or a region, as nnU-Net's summary names it."""
    return str(tuple(label)) if isinstance(label, list) else str(label)


def draw_fold(layout: DatasetLayout, model: Path, fold: str, path: Path, cases: int = 3) -> None:
    """Draws validation cases with small, medium and large lesions.

    Raises:
        UserError: The raw dataset, which holds the images, is not there.
    """
    if layout.raw is None or not layout.raw.is_dir():
        raise UserError(
            "nnUNet_raw", "not set or without this dataset", "the raw dataset", "export nnUNet_raw=<folder>"
        )
    run = ValidatedRun(layout, model, [], [])
    reader, ending = run.plans.image_reader_writer_class(), run.dataset_json["file_ending"]
    validation, references = FoldLayout(model / f"fold_{fold}").validation, layout.raw / "labelsTr"
    names = [path.name.removesuffix(ending) for path in sorted(validation.glob(f"*{ending}"))]
    masks = {name: references / f"{name}{ending}" for name in names}
    sizes = {name: int((read_label_map(file, reader, "restore it")[0] > 0).sum()) for name, file in masks.items()}
    by_size = sorted(names, key=sizes.__getitem__)
    chosen = [by_size[int(i)] for i in np.unique(np.linspace(0, len(by_size) - 1, cases).round())]
    rows = []
    for name in chosen:
        files = channel_files(layout.raw / "imagesTr", name, run.dataset_json)
        case = CaseImages.read(run, files, validation / f"{name}{ending}", references / f"{name}{ending}")
        panels = [
            case.panel(modality, channels[0], own_targets(run, modality))
            for modality, channels in run.modalities.items()
        ]
        rows.append(CasePanels(name, panels, case.spacing, case.sides))
    draw_overlay(path, rows, f"{layout.name}, fold {fold}: validation cases")
