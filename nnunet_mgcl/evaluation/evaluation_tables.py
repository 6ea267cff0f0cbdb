"""The tables that `mgcl evaluate` prints."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from nnunet_mgcl.evaluation import calibration_summary, probability_metrics, segmentation_metrics
from nnunet_mgcl.evaluation.tables import NAMES, interval, mean_sd, number, plain_table
from nnunet_mgcl.evaluation.tss_summary import RATES


def segmentation_table(content: dict[str, Any]) -> Table:
    """Mean and sd over cases, with the interval of the mean, and over folds."""
    columns = ("target", "measure", "cases", "mean ± sd", "95 % interval", "over folds")
    table = plain_table(f"{content['dataset']}, {content['model']}: segmentation", columns, 2)
    for target, own in content["segmentation"].items():
        for measure in segmentation_metrics.MEASURES:
            cases, folds = own[measure]["cases"], own[measure]["folds"]
            table.add_row(
                escape(target) if measure == "dice" else "", NAMES[measure], str(cases["n"]), mean_sd(cases, measure),
                interval(cases["ci95"], measure), mean_sd(folds, measure),
            )  # fmt: skip
        table.add_section()
    return table


def tss_table(content: dict[str, Any]) -> Table:
    """The threshold-free measures, those of calibration, then the rates at every operating point."""
    tss = content["tss"]
    title = f"TSS < 4.5 h: {tss['cases']} cases, {tss['positive']} of them positive"
    table = plain_table(title, ("threshold", "measure", "over folds", "pooled", "95 % interval"), 2)
    blocks: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [("", probability_metrics.MEASURES, tss["measures"])]
    calibration = tss["calibration"]["measures"]
    if calibration["calibrated"]["pooled"]["cases"]:
        blocks += [(kind, calibration_summary.MEASURES, block) for kind, block in calibration.items()]
    blocks += [(name, RATES, point) for name, point in tss["operating_points"].items()]
    for name, measures, block in blocks:
        for measure in measures:
            pooled = block["pooled"][measure]
            table.add_row(
                name if measure == measures[0] else "", NAMES.get(measure, measure), mean_sd(block["folds"][measure]),
                number(pooled["value"]), interval(pooled["ci95"]),
            )  # fmt: skip
        table.add_section()
    return table


def reasons(content: dict[str, Any]) -> list[str]:
    """Why something is missing, a line each, without repetition."""
    lines = []
    for target, own in content["segmentation"].items():
        if own["volume_difference_ml"]["cases"]["mean"] is None:
            lines.append(f"{target}: no volumes, {own['volume_difference_ml']['cases']['reason']}")
        if own["empty_reference"] or own["empty_prediction"]:
            none, missed, both = (own[which] for which in ("empty_reference", "empty_prediction", "both_empty"))
            lines.append(
                f"{target}: {none} without lesion, {missed} without predicted lesion, {both} with neither "
                "(left out of all but volumes)"
            )
    if content["cases_without_fold"]:
        lines.append(f"{len(content['cases_without_fold'])} labelled cases are validated by no fold of the split")
    if len(content["folds"]) == 1:
        lines.append("one fold only: no standard deviation over folds")
    tss = content["tss"]
    if tss.get("unknown_tss"):
        lines.append(f"TSS: {tss['unknown_tss']} cases without a known TSS are left out")
    if tss["reason"]:
        return [*lines, f"TSS: not evaluated, {tss['reason']}"]
    for fold, own in tss["measures"]["per_fold"].items():
        if own["reason"]:
            lines.append(f"TSS, fold {fold}: {own['reason']}, so not every measure is defined")
    for name, point in tss["operating_points"].items():
        for reason in sorted({own["reason"] for own in point["thresholds"].values()} - {None}):
            folds = ", ".join(fold for fold, own in point["thresholds"].items() if own["reason"] == reason)
            lines.append(f"TSS, threshold {name}: none for fold {folds}, {reason}")
    calibrated = [case.get("calibrated_probability") for case in content["cases"]]
    called = {p >= 0.5 for p in calibrated if p is not None}
    if len(called) == 1:
        sign = "<" if called == {True} else "≥"
        lines.append(f"TSS, threshold calibrated_0.5: every case is called {sign} 4.5 h")
    return lines
