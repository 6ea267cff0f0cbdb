"""The tables that `mgcl evaluate` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table

from nnunet_mgcl.evaluation.measures import probability, segmentation
from nnunet_mgcl.evaluation.segmentation_summary import EMPTY
from nnunet_mgcl.evaluation.statistics.intervals import ALL_ALIKE
from nnunet_mgcl.evaluation.tables.format import NAMES, divided_told, interval, mean_sd, number, plain_table
from nnunet_mgcl.evaluation.tss_summary import RATES
from nnunet_mgcl.system.errors import counted


def segmentation_table(content: dict[str, Any]) -> Table:
    """Mean and sd over cases, with the interval of the mean, the median, and mean and sd over folds."""
    columns = ("target", "measure", "n", "mean ± sd", "95 % interval", "median", "over folds")
    table = plain_table(f"{content['dataset']}, {content['model']}: segmentation", columns, 2)
    for target, measures in content["segmentation"].items():
        for measure in segmentation.MEASURES:
            cases, folds = measures[measure]["cases"], measures[measure]["folds"]
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


def _probabilities(tss: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """Name, measures and numbers, raw and calibrated; raw of the calibrated cases only where not all are calibrated."""
    raw, calibrated = tss["calibration"]["measures"].values()
    n = raw["pooled"]["cases"]
    of = f", {counted(n, 'case')}" if n < tss["cases"] else ""
    yield "raw", probability.MEASURES, tss["measures"]
    if of:
        yield f"raw{of}", probability.CALIBRATION_MEASURES, raw
    if calibrated["pooled"]["cases"]:
        yield f"calibrated{of}", probability.CALIBRATION_MEASURES, calibrated


def reasons(content: dict[str, Any]) -> list[str]:
    """Why something is missing, a line each, without repetition."""
    return [*_segmentation_reasons(content), *_tss_reasons(content["tss"], content["cases"])]


def _segmentation_reasons(content: dict[str, Any]) -> Iterator[str]:
    for target, measures in content["segmentation"].items():
        volumes = measures["volume_difference_ml"]["cases"]
        if volumes["mean"] is None:
            yield f"{target}: no volumes, {volumes['reason']}"
        none, missed, both, one = (measures[which] for which in EMPTY)
        if none or missed:
            yield (
                f"{target}: {none} without lesion, {missed} without predicted lesion; {both} with neither (left out of "
                f"all but volumes), {one} with only one of the two (counted as 0; HD95: the image diagonal)"
            )
        if alike := [NAMES[m] for m in segmentation.MEASURES if measures[m]["cases"]["ci_reason"] == ALL_ALIKE]:
            yield f"{target}: no interval of {', '.join(alike)}, because {ALL_ALIKE}"
    tolerance, side = content["settings"]["surface_dice_tolerance_mm"], content["smallest_voxel_side_mm"]
    if tolerance < side:
        yield (
            f"surface Dice: the tolerance of {tolerance:g} mm is below the smallest side of a voxel ({side:.3g} mm), "
            "so only surfaces that coincide count"
        )
    if content["cases_without_fold"]:
        yield f"{len(content['cases_without_fold'])} labelled cases are validated by no fold of the split"
    if divided := divided_told(content["divided_patients"]):
        yield divided
    if len(content["folds"]) == 1:
        yield "one fold only: no standard deviation over folds"


def _tss_reasons(tss: dict[str, Any], cases: list[dict[str, Any]]) -> Iterator[str]:
    if tss["reason"]:
        yield f"TSS: not evaluated, {tss['reason']}"
        return
    points = tss["operating_points"]
    if tss["unknown_tss"]:
        yield f"TSS: {counted(tss['unknown_tss'], 'case')} without a known TSS left out"
    for fold, measured in tss["measures"]["per_fold"].items():
        if measured["reason"]:
            yield f"TSS, fold {fold}: {measured['reason']}, so not every measure is defined"
    for name, point in points.items():
        why = {fold: threshold["reason"] for fold, threshold in point["thresholds"].items()}
        for reason in sorted({*why.values()} - {None}):
            folds = ", ".join(fold for fold in why if why[fold] == reason)
            yield f"TSS, threshold {name}: none for fold {folds}, {reason}"
    called = {p >= 0.5 for case in cases if (p := case["calibrated_probability"]) is not None}
    if len(called) == 1:
        yield f"TSS, threshold calibrated_0.5: every case is called {'<' if called == {True} else '≥'} 4.5 h"
    pooled = {name: point["pooled"] for name, point in points.items()}
    wilson = [f"{rate} at {name}" for name in pooled for rate in RATES if pooled[name][rate]["ci_method"] == "wilson"]
    if wilson:
        yield f"TSS, Wilson's interval, because {ALL_ALIKE}: {', '.join(wilson)}"
