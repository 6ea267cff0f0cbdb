"""Dice of each modality's own lesion, where labels are combinations of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunet_mgcl.evaluation.measures.classification import dice
from nnunet_mgcl.evaluation.runs.label_map import read_label_map, target_masks


def summarise_modalities(
    references: Path,
    predictions: Path,
    file_ending: str,
    reader: BaseReaderWriter,
    lesion_labels: dict[str, list[int]],
    ignore_label: int | None,
) -> dict[str, Any]:
    """Dice (Eq. 17) of each case and modality, and the mean over the cases where it is defined.

    nnU-Net's `summary.json` counts combinations of lesions, and its mean is NaN where one never occurs.
    """
    cases = {}
    for path in sorted(predictions.glob(f"*{file_ending}")):
        prediction, reference = (
            read_label_map(file, reader, "restore it, and validate again: --val")[0]
            for file in (path, references / path.name)
        )
        masks = target_masks(prediction, reference, lesion_labels, ignore_label)
        cases[path.name.removesuffix(file_ending)] = {modality: dice(*pair) for modality, pair in masks.items()}
    means = {}
    for modality in lesion_labels:
        defined = [value for case in cases.values() if (value := case[modality]) is not None]
        means[modality] = float(np.mean(defined)) if defined else None
    return {"mean": means, "cases": cases}
