"""TSS < 4.5 h: how well it is told, and how far its probability can be trusted."""

from __future__ import annotations

from typing import Any

from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.report.cross_validation.tss_pictures import hours_picture, reliability_picture, roc_picture
from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.wording import grouped

TITLE = "Time since stroke (TSS)"


def tss_section(run: ValidatedRun, content: dict[str, Any]) -> Section:
    """Tables and figures of the TSS classification; what cannot be drawn has its reason in words."""
    tss = content["tss"]
    if tss["reason"] or not tss["cases"]:
        return Section(TITLE, (f"Not evaluated: {tss['reason'] or 'the TSS of no validated case is known'}.",))
    reasons = grouped((block["reason"], fold) for fold, block in tss["calibration"]["per_fold"].items())
    return Section.of(
        TITLE,
        "cross_validation/tss/tss",
        pictures=_pictures(run, content),
        tss=tss,
        one_class=tss["measures"]["pooled"]["reason"],
        map_of_all_folds=run.some_folds and KEY in run.plans.plans,
        uncalibrated=[(why, reasons[why]) for why in sorted(set(reasons) - {None, "", tss["calibration"]["reason"]})],
    )


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
