"""TSS < 4.5 h: how well it is told, and how far its probability can be trusted."""

from __future__ import annotations

from typing import Any

from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.evaluation.measures.probability import MEASURES as THRESHOLD_FREE
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.tables.format import mean_sd, number
from nnunet_mgcl.evaluation.tss_summary import RATES
from nnunet_mgcl.report.cross_validation.hours_picture import hours_picture
from nnunet_mgcl.report.cross_validation.reliability_picture import reliability_picture
from nnunet_mgcl.report.cross_validation.roc_picture import roc_picture
from nnunet_mgcl.report.page.section import Picture, Section, Table
from nnunet_mgcl.report.page.wording import (
    MEASURES,
    METHODS,
    between,
    fold_names,
    no_skill,
    operating_point,
    with_interval,
)
from nnunet_mgcl.system.errors import counted

TITLE = "Time since stroke (TSS)"


def tss_section(run: ValidatedRun, content: dict[str, Any]) -> Section:
    """Tables and figures of the TSS classification; what cannot be drawn has its reason in words."""
    tss = content["tss"]
    if tss["reason"]:
        return Section(TITLE, (f"Not evaluated: {tss['reason']}.",))
    if not tss["cases"]:
        return Section(TITLE, ("Not evaluated: the TSS of no validated case is known.",))
    text = [
        f"Positive is a TSS < 4.5 h: {tss['positive']} of {counted(tss['cases'], 'case')} with a known TSS"
        + (f"; left out: {counted(tss['unknown_tss'], 'other case')} without one." if tss["unknown_tss"] else "."),
    ]
    if reason := tss["measures"]["pooled"]["reason"]:
        text.append(f"There is no ROC curve, and AUROC and average precision are undefined: {reason}.")
    else:
        text.append(
            "No skill: what always predicting the frequency of positive cases would reach, or the accuracy of always "
            "naming the larger class. A calibration error, a sensitivity and a specificity have no such value."
        )
    text += _about_calibration(run, tss)
    tables = [_threshold_free(tss), _operating_points(tss)]
    if tss["calibration"]["measures"]["calibrated"]["pooled"]["cases"]:
        tables.append(_calibration(tss["calibration"]["measures"]))
    return Section(TITLE, tuple(text), tuple(tables), _pictures(run, content))


def _pictures(run: ValidatedRun, content: dict[str, Any]) -> tuple[Picture, ...]:
    """Those that these cases allow."""
    tss, pictures = content["tss"], []
    known = [c for c in content["cases"] if c["tss_class"] is not None and c["probability"] is not None]
    if not tss["measures"]["pooled"]["reason"]:
        pictures.append(roc_picture(known, tss))
    pictures.append(reliability_picture(tss["calibration"]["reliability"]))
    assert run.tss_table is not None  # or there would be a reason
    hours = {case["case"]: run.tss_table.hours(case["case"]) for case in known}
    if any(value is not None for value in hours.values()):
        pictures.append(hours_picture(known, hours))
    return tuple(pictures)


def _about_calibration(run: ValidatedRun, tss: dict[str, Any]) -> list[str]:
    """What was calibrated, and why something was not."""
    calibration = tss["calibration"]
    if run.some_folds and KEY in run.plans.plans:
        lines = [
            "mgcl predict calibrates by the map in the model's plans.json, fitted on the predictions of all folds. "
            "That map is not evaluated here: leave -f out for that."
        ]
    elif calibration["reason"]:
        lines = [f"The probabilities are not calibrated: {calibration['reason']}."]
    else:
        lines = [
            f"mgcl predict calibrates by {METHODS[calibration['method']]}, fitted on the "
            f"out-of-fold predictions of {counted(calibration['cases'], 'case')}. Here each fold's cases are "
            "calibrated without themselves, by a map fitted on the fold's training cases."
        ]
    reasons = {own["reason"] for own in calibration["per_fold"].values() if own["reason"]}
    for reason in sorted(reasons - {calibration["reason"]}):
        folds = [fold for fold, own in calibration["per_fold"].items() if own["reason"] == reason]
        lines.append(f"The cases of {fold_names(folds)} are not calibrated: {reason}.")
    return lines


def _threshold_free(tss: dict[str, Any]) -> Table:
    rows = []
    for measure in THRESHOLD_FREE:
        pooled = tss["measures"]["pooled"]
        rows.append(
            (MEASURES[measure], number(pooled[measure]["value"]), between(pooled[measure]["ci95"]),
             no_skill(pooled[measure]), mean_sd(tss["measures"]["folds"][measure]))
        )  # fmt: skip
    columns = ("", "all cases", "95 % interval", "no skill", "mean ± sd over folds")
    return Table("At no threshold", columns, tuple(rows))


def _operating_points(tss: dict[str, Any]) -> Table:
    rows = []
    for name, point in tss["operating_points"].items():
        values = [own["value"] for own in point["thresholds"].values() if own["value"] is not None]
        span = dict.fromkeys(number(value) for value in (min(values), max(values))) if values else {}
        pooled = point["pooled"]
        rows.append(
            (_upper(operating_point(name)), " to ".join(span) or "none", str(pooled["cases"]),
             *(with_interval(pooled[rate]) for rate in RATES), no_skill(pooled["ACC"]))
        )  # fmt: skip
    columns = ("", "thresholds", "cases", *(MEASURES[rate] for rate in RATES), "Accuracy, no skill")
    return Table("Operating points, all cases (95 % interval)", columns, tuple(rows))


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _calibration(measures: dict[str, Any]) -> Table:
    """Raw and calibrated probabilities of the same cases."""
    names = [name for name in measures["raw"]["pooled"] if name not in ("cases", "reason")]
    rows = [
        (kind.capitalize(), str(own["pooled"]["cases"]), *(with_interval(own["pooled"][name]) for name in names))
        for kind, own in measures.items()
    ]
    raw = measures["raw"]["pooled"]
    rows.append(("No skill", str(raw["cases"]), *(no_skill(raw[name]) for name in names)))
    return Table(
        "Calibration, on the same cases (95 % interval)",
        ("Probabilities", "cases", *(MEASURES[name] for name in names)),
        tuple(rows),
    )
