"""Dice of each modality's own lesion, where labels are combinations of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.evaluation.measures.classification import dice
from nnunet_mgcl.evaluation.runs.label_map import Targets, read_label_map, target_masks
from nnunet_mgcl.evaluation.statistics.averages import mean_sd


def summarise_modalities(
    references: Path, predictions: Path, ending: str, reader: BaseReaderWriter, targets: Targets, ignore: int | None,
    incomplete: Incomplete,
) -> dict[str, Any]:  # fmt: skip
    """Dice (Eq. 17) of each case and modality that it has, and the mean over the cases where it is defined.

    nnU-Net's `summary.json` counts combinations of lesions, and its mean is NaN where one never occurs.
    """
    cases = {}
    for path in sorted(predictions.glob(f"*{ending}")):
        prediction, reference = (
            read_label_map(file, reader, "restore it, and validate again: --val")[0]
            for file in (path, references / path.name)
        )
        masks = target_masks(prediction, reference, targets, ignore)
        case = path.name.removesuffix(ending)
        has = {modality: incomplete.has(case, modality) for modality in targets}
        cases[case] = {modality: dice(*pair) if has[modality] else None for modality, pair in masks.items()}
    means = {modality: mean_sd([case[modality] for case in cases.values()], "case")["mean"] for modality in targets}
    return {"mean": means, "cases": cases}
