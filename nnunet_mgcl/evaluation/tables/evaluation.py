"""The tables that `mgcl evaluate` prints."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from nnunet_mgcl.evaluation.measures import probability
from nnunet_mgcl.evaluation.measures import segmentation as segmentation_metrics
from nnunet_mgcl.evaluation.statistics.bootstrap import ALL_ALIKE
from nnunet_mgcl.evaluation.tables.format import NAMES, divided_told, interval, mean_sd, number, plain_table
from nnunet_mgcl.evaluation.tss_summary import RATES
from nnunet_mgcl.system.errors import counted


def segmentation_table(content: dict[str, Any]) -> Table:
    """Mean and sd over cases, with the interval of the mean, the median, and mean and sd over folds."""
    columns = ("target", "measure", "n", "mean ± sd", "95 % interval", "median", "over folds")
    table = plain_table(f"{content['dataset']}, {content['model']}: segmentation", columns, 2)
    for target, own in content["segmentation"].items():
        for measure in segmentation_metrics.MEASURES:
            cases, folds = own[measure]["cases"], own[measure]["folds"]
            table.add_row(
                escape(target) if measure == "dice" else "", NAMES[measure], str(cases["n"]), mean_sd(cases, measure),
                interval(cases["ci95"], measure), number(cases["median"], measure), mean_sd(folds, measure),
            )  # fmt: skip
        table.add_section()
    return table


def tss_table(content: dict[str, Any]) -> Table:
    """The measures of the raw and the calibrated probabilities, then the rates at every operating point."""
    tss = content["tss"]
    title = f"TSS < 4.5 h: {counted(tss['cases'], 'case')}, {tss['positive']} of them positive"
    table = plain_table(title, ("", "measure", "over folds", "pooled", "95 % interval", "no skill"), 2)
    blocks = [*_probabilities(tss), *((f"at {name}", RATES, own) for name, own in tss["operating_points"].items())]
    for name, measures, block in blocks:
        table.add_section()
        for measure in measures:
            pooled = block["pooled"][measure]
            table.add_row(
                name if measure == measures[0] else "", NAMES.get(measure, measure), mean_sd(block["folds"][measure]),
                number(pooled["value"]), interval(pooled["ci95"]),
                number(pooled["no_skill"]) if "no_skill" in pooled else "",
            )  # fmt: skip
    return table


Block = tuple[str, tuple[str, ...], dict[str, Any]]
"""Name, measures and numbers."""


def _probabilities(tss: dict[str, Any]) -> list[Block]:
    """Raw and calibrated; the raw ones of the calibrated cases only where these are not all cases."""
    raw, calibrated = tss["calibration"]["measures"].values()
    blocks: list[Block] = [("raw", probability.MEASURES, tss["measures"])]
    n = raw["pooled"]["cases"]
    partly = n < tss["cases"]
    if partly:
        blocks.append((f"raw, {counted(n, 'case')}", probability.CALIBRATION_MEASURES, raw))
    if calibrated["pooled"]["cases"]:
        name = f"calibrated, {counted(n, 'case')}" if partly else "calibrated"
        blocks.append((name, probability.CALIBRATION_MEASURES, calibrated))
    return blocks


def reasons(content: dict[str, Any]) -> list[str]:
    """Why something is missing, a line each, without repetition."""
    lines = []
    for target, own in content["segmentation"].items():
        if own["volume_difference_ml"]["cases"]["mean"] is None:
            lines.append(f"{target}: no volumes, {own['volume_difference_ml']['cases']['reason']}")
        if own["empty_reference"] or own["empty_prediction"]:
            counts = ("empty_reference", "empty_prediction", "both_empty", "one_empty")
            none, missed, both, one = (own[which] for which in counts)
            lines.append(
                f"{target}: {none} without lesion, {missed} without predicted lesion; {both} with neither (left out of "
                f"all but volumes), {one} with only one of the two (counted as 0; HD95: the image diagonal)"
            )
        if alike := [NAMES[m] for m in segmentation_metrics.MEASURES if own[m]["cases"]["ci_reason"] == ALL_ALIKE]:
            lines.append(f"{target}: no interval of {', '.join(alike)}, because {ALL_ALIKE}")
    tolerance, side = content["settings"]["surface_dice_tolerance_mm"], content["smallest_voxel_side_mm"]
    if tolerance < side:
        lines.append(
            f"surface Dice: the tolerance of {tolerance:g} mm is below the smallest side of a voxel ({side:.3g} mm), "
            "so only surfaces that coincide count"
        )
    if content["cases_without_fold"]:
        lines.append(f"{len(content['cases_without_fold'])} labelled cases are validated by no fold of the split")
    if divided := divided_told(content["divided_patients"]):
        lines.append(divided)
    if len(content["folds"]) == 1:
        lines.append("one fold only: no standard deviation over folds")
    return [*lines, *_tss_reasons(content)]


def _tss_reasons(content: dict[str, Any]) -> list[str]:
    tss = content["tss"]
    if tss["reason"]:
        return [f"TSS: not evaluated, {tss['reason']}"]
    lines = []
    if tss["unknown_tss"]:
        lines.append(f"TSS: {counted(tss['unknown_tss'], 'case')} without a known TSS left out")
    for fold, own in tss["measures"]["per_fold"].items():
        if own["reason"]:
            lines.append(f"TSS, fold {fold}: {own['reason']}, so not every measure is defined")
    for name, point in tss["operating_points"].items():
        for reason in sorted({own["reason"] for own in point["thresholds"].values()} - {None}):
            folds = ", ".join(fold for fold, own in point["thresholds"].items() if own["reason"] == reason)
            lines.append(f"TSS, threshold {name}: none for fold {folds}, {reason}")
    calibrated = [case["calibrated_probability"] for case in content["cases"]]
    called = {p >= 0.5 for p in calibrated if p is not None}
    if len(called) == 1:
        sign = "<" if called == {True} else "≥"
        lines.append(f"TSS, threshold calibrated_0.5: every case is called {sign} 4.5 h")
    wilson = [
        f"{rate} at {name}"
        for name, point in tss["operating_points"].items()
        for rate in RATES
        if point["pooled"][rate]["ci_method"] == "wilson"
    ]
    if wilson:
        lines.append(f"TSS, Wilson's interval, because {ALL_ALIKE}: {', '.join(wilson)}")
    return lines
