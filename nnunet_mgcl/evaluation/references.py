"""Predictions against references, from Python: one patient's arrays, or a folder that `mgcl predict` wrote."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.measures.probability import MEASURES as PROBABILITY_MEASURES
from nnunet_mgcl.evaluation.measures.probability import probability_metrics
from nnunet_mgcl.evaluation.measures.segmentation import MEASURES
from nnunet_mgcl.evaluation.runs.label_map import Measures, Targets, measure_files, measure_label_maps
from nnunet_mgcl.evaluation.runs.tss_validation import TABLE, read_probabilities
from nnunet_mgcl.evaluation.segmentation_summary import summarise_segmentation
from nnunet_mgcl.evaluation.tss_cases import TSSCases
from nnunet_mgcl.evaluation.tss_summary import operating_point
from nnunet_mgcl.plan.dataset_json import label_targets, read_dataset_json
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.errors import UserError, some
from nnunet_mgcl.system.files import is_there

PREDICT_AGAIN = "restore the file, or predict the case again"


def evaluate_case(
    prediction: npt.NDArray[np.integer], reference: npt.NDArray[np.integer], spacing: Sequence[float],
    targets: Mapping[str, Sequence[int]], *, ignore_label: int | None = None, tolerance_mm: float = 2.0,
) -> Measures:  # fmt: skip
    """Measures one patient's segmentation as `mgcl evaluate` does (docs/evaluation.md defines every number).

    Args:
        prediction: Label map `(Z, Y, X)`.
        reference: The true one, of the same shape.
        spacing: Edges of a voxel in mm, in the order z, y, x.
        targets: The labels that make up each target, as in `{"lesion": [1]}` or `Model.targets`.
        ignore_label: Voxels of the reference that count for nothing.
        tolerance_mm: Of the surface Dice.

    Returns:
        By target `dice`, `lesion_f1`, `volume_difference_ml`, `hd95_mm`, `surface_dice`, `volume_ml`,
        `predicted_volume_ml`, `lesions` and `predicted_lesions`; None where one is undefined.

    Raises:
        UserError: The arrays are no label maps of one shape, or the spacing or the tolerance is none.
    """
    _check_tolerance(tolerance_mm)
    for name, labels in (("prediction", prediction), ("reference", reference)):
        if not isinstance(labels, np.ndarray) or labels.ndim != 3 or labels.dtype.kind not in "biu":
            what = f"{labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
            raise UserError(name, what, "an array of whole numbers (Z, Y, X)", "labels.astype(int), labels[None]")
    if prediction.shape != reference.shape:
        found, expected = f"shape {prediction.shape}", f"{reference.shape}, as the reference"
        raise UserError("prediction", found, expected, "give both on the same grid")
    if np.shape(spacing) != (3,) or not all(0 < edge < math.inf for edge in spacing):
        raise UserError("spacing", repr(spacing), "three lengths z, y, x in mm", "as in spacing=(6.0, 1.0, 1.0)")
    return measure_label_maps(prediction, reference, spacing, _lists(targets), ignore_label, tolerance_mm)


def evaluate_folder(
    predictions: str | PathLike[str], references: str | PathLike[str], *, tss: str | PathLike[str] | None = None,
    targets: Mapping[str, Sequence[int]] | None = None, tolerance_mm: float = 2.0,
) -> dict[str, Any]:  # fmt: skip
    """Measures a folder that `mgcl predict` (or `nnUNetv2_predict`) wrote against its references.

    Args:
        predictions: The folder, with the plans.json and dataset.json that nnU-Net leaves there.
        references: Folder of label maps, one for each prediction and called the same, such as `labelsTs`.
        tss: Table of the known times (`case,tss_hours` or `case,tss_class`); None: segmentation alone.
        targets: The labels that make up each target; None: those of dataset.json.
        tolerance_mm: Of the surface Dice.

    Returns:
        Numbers as in `evaluation.json` (docs/evaluation.md). `segmentation` has for each target how many cases are
        empty and, for each measure of `evaluate_case`, mean, sd, median and 95 % interval over the cases. `tss` has
        AUROC, AP, Brier, ECE and log_loss and, at a probability of 0.5, ACC, SEN and SPE, each with its interval; or
        `reason`, why there is none. `cases` has the numbers of each.

    Raises:
        UserError: A file is missing or of no use, or cases, shapes or times do not fit.
    """
    _check_tolerance(tolerance_mm)
    folder, true = Path(predictions), Path(references)
    dataset_json = read_dataset_json(folder / "dataset.json")
    reader = PlansManager(read_plans(folder / "plans.json")).image_reader_writer_class()
    ending, ignore = dataset_json["file_ending"], dataset_json["labels"].get("ignore")
    cases = _same_cases(folder, true, ending)
    table = read_tss_table(Path(tss), cases) if tss is not None else None
    probabilities = _probabilities(folder / TABLE, cases) if table else {}
    own = label_targets(dataset_json) if targets is None else _lists(targets)
    scores = []
    for case in cases:
        files = folder / f"{case}{ending}", true / f"{case}{ending}"
        measures = measure_files(*files, reader, (own, ignore), tolerance_mm, (PREDICT_AGAIN, PREDICT_AGAIN))
        scores.append(CaseScores.of(case, 0, measures, table, probabilities))
    return {
        "segmentation": {
            target: {key: value["cases"] if key in MEASURES else value for key, value in summary.items()}
            for target, summary in summarise_segmentation(scores, [0]).items()
        },
        "tss": _summarised_tss(scores, folder, table is not None),
        "cases": [
            {k: v for k, v in asdict(s).items() if k not in ("fold", "calibrated_probability", "lacks")} for s in scores
        ],
    }


def _check_tolerance(tolerance: float) -> None:
    if not 0 <= tolerance < math.inf:
        raise UserError("tolerance_mm", str(tolerance), "a number of millimetres from 0 on", "tolerance_mm=2.0")


def _lists(targets: Mapping[str, Sequence[int]]) -> Targets:
    return {name: [int(label) for label in np.atleast_1d(labels)] for name, labels in targets.items()}


def _same_cases(predictions: Path, references: Path, ending: str) -> list[str]:
    predicted, true = (
        {path.name.removesuffix(ending) for path in folder.glob(f"*{ending}")} for folder in (predictions, references)
    )
    if not predicted:
        raise UserError(predictions, "no segmentation", f"files CASE{ending}", "name the folder that was predicted")
    for folder, missing in ((references, predicted - true), (predictions, true - predicted)):
        if missing:
            found = f"no {some(sorted(missing))}"
            expected = "the same cases in both folders"
            raise UserError(folder, found, expected, "add them, or give a folder without the others")
    return sorted(predicted)


def _probabilities(path: Path, cases: Sequence[str]) -> dict[str, float | None]:
    if not is_there(path):
        return {}
    try:
        probabilities = read_probabilities(path)
    except UserError as error:  # its remedy is that of a validation
        raise UserError(error.where, error.found, error.expected, "predict again, into another folder") from None
    if missing := sorted(set(cases) - probabilities.keys()):
        raise UserError(path, f"no row of {some(missing)}", "a row for each segmentation", "predict them again")
    return probabilities


def _summarised_tss(cases: Sequence[CaseScores], folder: Path, known: bool) -> dict[str, Any]:
    if not known:
        return {"reason": "no table of known times was given (tss=...)"}
    if not is_there(folder / TABLE):
        return {
            "reason": f"{folder} has no {TABLE}: the model has no trained TSS head, or mgcl predict did not write it"
        }
    data = TSSCases.of(cases)
    everyone = np.ones(len(data.names), dtype=bool)
    measured = data.summarise([0], PROBABILITY_MEASURES, probability_metrics, data.probabilities, everyone)
    return measured["pooled"] | operating_point(data, data.probabilities, {0: (0.5, None)})["pooled"]
