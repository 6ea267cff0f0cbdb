"""The tables that `mgcl evaluate` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table

from nnunet_mgcl.evaluation.measures import probability, segmentation
from nnunet_mgcl.evaluation.statistics.intervals import ALL_ALIKE
from nnunet_mgcl.evaluation.tables.format import NAMES, interval, mean_sd, number, plain_table, told
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
    """Why something is missing, a line each."""
    words = {"MEASURES": segmentation.MEASURES, "NAMES": NAMES, "ALL_ALIKE": ALL_ALIKE, "RATES": RATES}
    return told("evaluation", content, **words)
