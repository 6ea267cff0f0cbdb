"""Dice of each modality's own lesion, where labels are combinations of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunet_mgcl.evaluation.measures.classification import dice


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
    cases = {
        path.name.removesuffix(file_ending): _case(references / path.name, path, reader, lesion_labels, ignore_label)
        for path in sorted(predictions.glob(f"*{file_ending}"))
    }
    means = {}
    for modality in lesion_labels:
        defined = [value for case in cases.values() if (value := case[modality]) is not None]
        means[modality] = float(np.mean(defined)) if defined else None
    return {"mean": means, "cases": cases}


def _case(
    reference_file: Path,
    prediction_file: Path,
    reader: BaseReaderWriter,
    lesion_labels: dict[str, list[int]],
    ignore_label: int | None,
) -> dict[str, float | None]:
    reference, prediction = (reader.read_seg(str(file))[0] for file in (reference_file, prediction_file))
    counted = reference != ignore_label if ignore_label is not None else np.ones_like(reference, dtype=bool)
    result: dict[str, float | None] = {}
    for modality, labels in lesion_labels.items():
        value = dice(np.isin(prediction, labels) & counted, np.isin(reference, labels) & counted)
        result[modality] = None if math.isnan(value) else value
    return result
