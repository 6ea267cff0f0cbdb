"""TSS < 4.5 h: how well it is told, and how far its probability can be trusted."""

from __future__ import annotations

from typing import Any

from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.evaluation.measures.probability import MEASURES as THRESHOLD_FREE
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.tables.format import number
from nnunet_mgcl.evaluation.tss_summary import RATES
from nnunet_mgcl.report.cross_validation.tss_pictures import hours_picture, reliability_picture, roc_picture
from nnunet_mgcl.report.page.section import Picture, Section, Table
from nnunet_mgcl.report.page.wording import (
    MEASURES,
    METHODS,
    fold_names,
    no_skill,
    operating_point,
    pooled_cells,
    with_interval,
)
from nnunet_mgcl.system.errors import counted

TITLE = "Time since stroke (TSS)"


NO_SKILL = (
    "No skill: what always predicting the frequency of positive cases would reach, or the accuracy of always naming "
    "the larger class. A calibration error, a sensitivity and a specificity have no such value."
)


def tss_section(run: ValidatedRun, content: dict[str, Any]) -> Section:
    """Tables and figures of the TSS classification; what cannot be drawn has its reason in words."""
    tss = content["tss"]
    if tss["reason"] or not tss["cases"]:
        return Section(TITLE, (f"Not evaluated: {tss['reason'] or 'the TSS of no validated case is known'}.",))
    unknown = f"; left out: {counted(tss['unknown_tss'], 'other case')} without one" if tss["unknown_tss"] else ""
    one_class = tss["measures"]["pooled"]["reason"]
    text = (
        f"Positive is a TSS < 4.5 h: {tss['positive']} of {counted(tss['cases'], 'case')} with a known TSS{unknown}.",
        NO_SKILL if not one_class else f"No ROC curve, AUROC and average precision are undefined: {one_class}.",
        *_about_calibration(run, tss),
    )
    tables = [_threshold_free(tss), _operating_points(tss)]
    if tss["calibration"]["measures"]["calibrated"]["pooled"]["cases"]:
        tables.append(_calibration(tss["calibration"]["measures"]))
    return Section(TITLE, text, tuple(tables), _pictures(run, content))


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
        first = (
            "mgcl predict calibrates by the map in the model's plans.json, fitted on the predictions of all folds. "
            "That map is not evaluated here: leave -f out for that."
        )
    elif calibration["reason"]:
        first = f"The probabilities are not calibrated: {calibration['reason']}."
    else:
        first = (
            f"mgcl predict calibrates by {METHODS[calibration['method']]}, fitted on the out-of-fold predictions of "
            f"{counted(calibration['cases'], 'case')}. Here each fold's cases are calibrated without themselves, by a "
            "map fitted on the fold's training cases."
        )
    folds: dict[str, list[str]] = {}
    for fold, block in calibration["per_fold"].items():
        folds.setdefault(block["reason"], []).append(fold)
    others = sorted(set(folds) - {None, "", calibration["reason"]})
    return [first, *(f"The cases of {fold_names(folds[why])} are not calibrated: {why}." for why in others)]


def _threshold_free(tss: dict[str, Any]) -> Table:
    columns = ("", "all cases", "95 % interval", "no skill", "mean ± sd over folds")
    rows = ((MEASURES[measure], *pooled_cells(tss["measures"], measure)) for measure in THRESHOLD_FREE)
    return Table("At no threshold", columns, tuple(rows))


def _operating_points(tss: dict[str, Any]) -> Table:
    rows = []
    for name, point in tss["operating_points"].items():
        words, pooled = operating_point(name), point["pooled"]
        values = [fold["value"] for fold in point["thresholds"].values() if fold["value"] is not None]
        span = dict.fromkeys(number(value) for value in (min(values), max(values))) if values else ["none"]
        rates = [with_interval(pooled[rate]) for rate in RATES]
        cells = (" to ".join(span), str(pooled["cases"]), *rates, no_skill(pooled["ACC"]))
        rows.append((words[0].upper() + words[1:], *cells))
    columns = ("", "thresholds", "cases", *(MEASURES[rate] for rate in RATES), "Accuracy, no skill")
    return Table("Operating points, all cases (95 % interval)", columns, tuple(rows))


def _calibration(measures: dict[str, Any]) -> Table:
    """Raw and calibrated probabilities of the same cases."""
    raw = measures["raw"]["pooled"]
    names = [name for name in raw if name not in ("cases", "reason")]
    rows = [
        (kind.capitalize(), str(block["pooled"]["cases"]), *(with_interval(block["pooled"][name]) for name in names))
        for kind, block in measures.items()
    ]
    rows.append(("No skill", str(raw["cases"]), *(no_skill(raw[name]) for name in names)))
    columns = ("Probabilities", "cases", *(MEASURES[name] for name in names))
    return Table("Calibration, on the same cases (95 % interval)", columns, tuple(rows))
