"""One patient's files and numbers, of a validated case or of a new patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nnunet_mgcl.evaluation.calibration.stored import KEY, stored_calibration
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.runs.tss_validation import MODALITIES
from nnunet_mgcl.inference.tss_report import FOLD, read_rows
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.report.case_images import channel_files
from nnunet_mgcl.report.page.wording import in_hours
from nnunet_mgcl.report.patient.predicted_folder import require_new, require_same_images, require_same_model
from nnunet_mgcl.system.errors import UserError, some, suggestion
from nnunet_mgcl.system.files import is_there
from nnunet_mgcl.system.numbers import number


@dataclass(frozen=True)
class PatientTSS:
    """What is known of a patient's TSS.

    Attributes:
        probability: Of TSS < 4.5 h, calibrated where `calibration` names how; None where `reason` says why.
        raw: The same, uncalibrated.
        calibration: How it was calibrated: a method of `Calibration`, or words; empty where it was not.
        folds: The probability of each fold's model by its number, calibrated as `probability` is; empty where that
            is not known.
        truth: The known TSS in words.
        reason: Why there is no probability, or why it is not calibrated.
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
    """A case of the cross-validation (`require_validated`), with what the fold that validated it has made of it."""
    case = next(case for case in content["cases"] if case["case"] == name)
    file = f"{name}{run.dataset_json['file_ending']}"
    return Patient(
        name,
        f"{name} is a labelled case of {content['dataset']}, predicted by fold {case['fold']}, which did not train on "
        "it. The other folds did, and their answers would look better than they are: they are left out.",
        run.layout.raw / "imagesTr" if run.layout.raw else None,
        run.validation(case["fold"]) / file,
        run.reference(name),
        case["targets"],
        _validated_tss(run, content, case),
    )


NEW = "for a new patient, give what mgcl predict read and wrote: -i IMAGES -s PREDICTIONS"


def require_validated(run: ValidatedRun, name: str) -> None:
    """Checks that one of the chosen folds validates a case.

    Raises:
        UserError: None does.
    """
    where, folds = f"--case {name}", f"fold {', '.join(map(str, run.folds))}"
    validated_by = [fold for fold, split in enumerate(run.splits) if name in split["val"]]
    if set(validated_by) & set(run.folds):
        return
    if validated_by:
        fold = validated_by[0]
        remedy = f"-f {fold}, once that fold is trained and validated"
        raise UserError(where, f"a case of fold {fold}", f"one of {folds}", remedy)
    known = sorted(case for fold in run.folds for case in run.splits[fold]["val"])
    raise UserError(where, f"no validated case of {folds}", "one of their cases", f"{_near(name, known)}; {NEW}")


def _near(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, 1)
    return suggestion(name, close) if close else f"use one of {some(known)}"


def _validated_tss(run: ValidatedRun, content: Mapping[str, Any], case: Mapping[str, Any]) -> PatientTSS:
    hours = run.tss_table.hours(case["case"]) if run.tss_table else None
    truth = {None: "", 0: "not less than 4.5 h", 1: "less than 4.5 h"}[case["tss_class"]]
    truth = f"{in_hours(hours)}, {truth}" if hours is not None else truth
    raw, calibrated = case["probability"], case.get("calibrated_probability")
    model = content.get("tss", {}).get("calibration", {})
    if model.get("reason"):  # mgcl predict writes the raw one
        calibrated = None
    if raw is None:
        return PatientTSS(truth=truth, reason=run.no_tss or "this case has no probability")
    shown = raw if calibrated is None else calibrated
    how = "" if calibrated is None else f"by a map that was fitted without the cases of fold {case['fold']}"
    known = "the map that mgcl predict uses is not used here, as it was fitted on this case too"
    reason = known if calibrated is None and KEY in run.plans.plans else ""
    return PatientTSS(shown, raw, how, {str(case["fold"]): shown}, truth, reason)


def new_patient(run: ValidatedRun, name: str, images: Path, predictions: Path) -> Patient:
    """A patient whom `mgcl predict` has predicted.

    Raises:
        UserError: There is no prediction of the case, another model's, or the case is not new.
    """
    require_new(run, name)
    ending = run.dataset_json["file_ending"]
    prediction = predictions / f"{name}{ending}"
    if not prediction.is_file():
        there = sorted(path.name.removesuffix(ending) for path in predictions.glob(f"*{ending}"))
        remedy = _near(name, there) if there else "run mgcl predict, or check -s"
        raise UserError(f"--case {name}", f"no {prediction.name} in {predictions}", "a predicted case", remedy)
    if unknown := require_same_model(run, predictions):
        print(unknown)
    require_same_images(predictions, name, channel_files(images, name, run.dataset_json))
    about = f"{name} is a new patient, predicted from {images.name}; no reference is known."
    return Patient(name, about, images, prediction, None, None, _predicted_tss(run, predictions / "tss.csv", name))


def _predicted_tss(run: ValidatedRun, table: Path, name: str) -> PatientTSS:
    if not is_there(table):
        return PatientTSS(
            reason=f"{table.parent.name} has no tss.csv: the model has no trained TSS head, or another command "
            "than mgcl predict, or only some of its parts, wrote the folder"
        )
    try:
        row = read_rows(table).get(name)
        if row is None:
            return PatientTSS(reason=f"tss.csv has no row of {name}")
        if not row["probability"] and row.get(MODALITIES):
            return PatientTSS(reason=f"the head says nothing of a patient with {row[MODALITIES]} alone")
        folds = {k.removeprefix(FOLD): _probability(v) for k, v in row.items() if k and k.startswith(FOLD)}
        probability = _probability(row["probability"])
        raw = _probability(row.get("probability_raw") or row["probability"])
    except (KeyError, ValueError) as error:
        raise UserError(table, f"{error} in the row of {name}", "what mgcl predict wrote", "predict again") from None
    method = row.get("calibration") or "none"
    if method == "none":
        return PatientTSS(probability, raw, "", folds)
    return PatientTSS(probability, raw, method, _calibrated_folds(folds, probability, [table.parent, run.model]))


def _probability(text: str | None) -> float:
    value = number(text or "nan")
    if not 0 <= value <= 1:
        raise ValueError(f"the probability {text!r}")
    return value


def _calibrated_folds(raw: Mapping[str, float], mean: float, models: Sequence[Path]) -> dict[str, float]:
    """Each fold's probability by the map that gave their calibrated mean; nothing where no plans.json has it."""
    for path in (folder / "plans.json" for folder in models):
        own = stored_calibration(read_plans(path), path) if is_there(path) else None
        folds = {fold: own.apply(value) for fold, value in raw.items()} if own else {}
        if folds and abs(sum(folds.values()) / len(folds) - mean) < 1e-5:
            return folds
    return {}
