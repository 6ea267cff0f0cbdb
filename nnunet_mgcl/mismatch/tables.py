"""What was measured on many cases, as files and on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from nnunet_mgcl.evaluation.tables.format import number, plain_table
from nnunet_mgcl.mismatch.baseline import RATIO_RULE, baselines
from nnunet_mgcl.mismatch.case_mismatch import (
    FLAIR_COLUMNS,
    LESION_COLUMNS,
    PERFUSION_COLUMNS,
    REASON,
    CaseMismatch,
    MismatchOptions,
)
from nnunet_mgcl.mismatch.perfusion_rules import CORE_ADC, TMAX_SECONDS
from nnunet_mgcl.mismatch.roles import Roles
from nnunet_mgcl.system.csv_table import write_csv
from nnunet_mgcl.system.errors import some
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.system.pages import paragraphs

WORDS = "mismatch/words.txt"


def in_words(options: MismatchOptions, roles: Roles) -> str:
    """What is measured in such a dataset, in one line."""
    words = {"options": options, "roles": roles, "CORE_ADC": CORE_ADC, "TMAX_SECONDS": TMAX_SECONDS}
    return paragraphs(WORDS, "options", words)[0]


def write_tables(
    folder: Path, measured: Sequence[CaseMismatch], roles: Roles, options: MismatchOptions, positive: dict[str, bool]
) -> dict[str, Any]:
    """Writes `mismatch.csv`, `mismatch_lesions.csv` and `mismatch_summary.json`; returns the baselines.

    Args:
        folder: Where they go.
        measured: The cases.
        roles: What was measured.
        options: And how.
        positive: Whether TSS < 4.5 h, for the cases where it is known.
    """
    measured = sorted(measured, key=lambda case: case.row["case"])
    classes = {case: str(int(early)) for case, early in positive.items()}
    rows = [case.row | {"tss_class": classes.get(case.row["case"], "")} for case in measured]
    write_csv(folder / "mismatch.csv", ("case", "tss_class", *FLAIR_COLUMNS, *PERFUSION_COLUMNS, REASON), rows)
    write_csv(folder / "mismatch_lesions.csv", LESION_COLUMNS, [row for case in measured for row in case.lesions])
    metrics = baselines(rows, positive, options.flair_positive)
    summary = {"options": asdict(options), "channels": roles.channels, "masks": roles.masks, "baselines": metrics}
    write_json(folder / "mismatch_summary.json", summary)
    return metrics


def baseline_table(summary: dict[str, dict[str, Any]], threshold: float) -> Table:
    """The metrics of each rule, of which that of the FLAIR ratio has a threshold."""
    title, measures = '"DWI lesion without FLAIR lesion: TSS < 4.5 h"', ("ACC", "SEN", "SPE", "AUROC")
    table = plain_table(title, ("rule", "cases", *measures), names=1)
    for rule, metrics in summary.items():
        name = f"{rule} below {threshold:g}" if rule == RATIO_RULE else f"{rule} empty"
        table.add_row(name, str(metrics["cases"]), *(number(metrics[measure]) for measure in measures))
    return table


def baseline_reasons(summary: dict[str, dict[str, Any]]) -> list[str]:
    """Why something is missing in it, a line each."""
    return paragraphs(WORDS, "baseline", {"summary": summary, "some": some, "REASON": REASON})
