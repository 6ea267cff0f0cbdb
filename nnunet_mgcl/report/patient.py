"""One patient's files and numbers, of a validated case or of a new patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_mgcl.errors import UserError, suggestion
from nnunet_mgcl.evaluation.validated_run import ValidatedRun
from nnunet_mgcl.inference.tss_report import read_rows


@dataclass(frozen=True)
class PatientTSS:
    """What is known of a patient's TSS.

    Attributes:
        probability: Of TSS < 4.5 h, calibrated where `calibration` names how; None where `reason` says why.
        raw: The same, uncalibrated.
        calibration: How it was calibrated; empty where it was not.
        folds: The raw probability of each fold's model, by its number.
        truth: The known TSS in words.
        reason: Why there is no probability, or what the numbers are.
    """

    probability: float | None = None
    raw: float | None = None
    calibration: str = ""
    folds: Mapping[str, float] = field(default_factory=dict)
    truth: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Patient:
    """What a patient's page is made of.

    Attributes:
        case: Its name.
        about: Where everything comes from, in a sentence.
        images: Folder of its channels; None where nnUNet_raw is not set.
        prediction: Its label map.
        reference: The true one; None where none is known.
        scores: Of each target, from `evaluation.json`; None for a new patient.
        tss: Of its TSS.
    """

    case: str
    about: str
    images: Path | None
    prediction: Path
    reference: Path | None
    scores: Mapping[str, Mapping[str, Any]] | None
    tss: PatientTSS


def validated_patient(run: ValidatedRun, content: Mapping[str, Any], name: str) -> Patient:
    """A case of the cross-validation, with what the fold that validated it has made of it.

    Raises:
        UserError: There is no such case.
    """
    cases = {case["case"]: case for case in content["cases"]}
    if name not in cases:
        folds = ", ".join(map(str, run.folds))
        raise UserError(
            f"--case {name}", f"no validated case of fold {folds}", "one of their cases", suggestion(name, cases)
        )
    case, file = cases[name], f"{name}{run.dataset_json['file_ending']}"
    return Patient(
        name,
        f"{name} is a labelled case of {content['dataset']}, predicted by fold {case['fold']}, which did not train on "
        "it. The other folds did: there is no honest spread over folds.",
        run.layout.raw / "imagesTr" if run.layout.raw else None,
        run.validation(case["fold"]) / file,
        run.layout.preprocessed / "gt_segmentations" / file,
        case["targets"],
        _validated_tss(run, case),
    )


def _validated_tss(run: ValidatedRun, case: Mapping[str, Any]) -> PatientTSS:
    hours = run.tss_table.hours(case["case"]) if run.tss_table else None
    truth = {None: "", 0: "not less than 4.5 h", 1: "less than 4.5 h"}[case["tss_class"]]
    truth = f"{hours:g} h, {truth}" if hours is not None else truth
    raw, calibrated = case["probability"], case.get("calibrated_probability")
    if raw is None:
        return PatientTSS(truth=truth, reason=run.no_tss or "this case has no probability")
    return PatientTSS(
        raw if calibrated is None else calibrated,
        raw,
        "" if calibrated is None else "without any validation case of its fold",
        {str(case["fold"]): raw},
        truth,
    )


def new_patient(run: ValidatedRun, name: str, images: Path, predictions: Path) -> Patient:
    """A patient whom `mgcl predict` has predicted.

    Raises:
        UserError: There is no prediction of the case.
    """
    ending = run.dataset_json["file_ending"]
    prediction = predictions / f"{name}{ending}"
    if not prediction.is_file():
        there = sorted(path.name.removesuffix(ending) for path in predictions.glob(f"*{ending}"))
        remedy = suggestion(name, there) if there else "run mgcl predict, or check -s"
        raise UserError(f"--case {name}", f"no {prediction.name} in {predictions}", "a predicted case", remedy)
    about = f"{name} is a new patient, predicted from {images.name}; no reference is known."
    return Patient(name, about, images, prediction, None, None, _predicted_tss(predictions / "tss.csv", name))


def _predicted_tss(table: Path, name: str) -> PatientTSS:
    if not table.is_file():
        return PatientTSS(
            reason=f"{table.parent.name} has no tss.csv: the model has no trained TSS head, or another command "
            "than mgcl predict, or only some of its parts, wrote the folder"
        )
    row = read_rows(table).get(name)
    if row is None:
        return PatientTSS(reason=f"tss.csv has no row of {name}")
    try:
        folds = {k.removeprefix("probability_fold_"): float(v) for k, v in row.items() if "_fold_" in k}
        probability = float(row["probability"])
        raw = float(row.get("probability_raw") or probability)
    except (KeyError, ValueError) as error:
        raise UserError(table, f"{error} in the row of {name}", "what mgcl predict wrote", "predict again") from None
    method = row.get("calibration") or "none"
    return PatientTSS(probability, raw, "" if method == "none" else method, folds)
