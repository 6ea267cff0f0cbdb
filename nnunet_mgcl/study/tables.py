"""A study's table, as text cells, CSV and LaTeX."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any

from nnunet_mgcl.evaluation.tables.format import mean_sd, number

Cells = list[list[str]]


def targets_of(content: dict[str, Any]) -> list[str]:
    """The targets of a study, in their order; the classification last."""
    return list(dict.fromkeys(target for row in content["rows"] for target in row["scores"]))


def name_of(row: dict[str, Any]) -> str:
    """An arm, as the tables call it."""
    more = f", {row['segment_epochs']} epochs" if row["segment_epochs"] else ""
    return f"{row['trainer']}{more}"


def score_cells(content: dict[str, Any]) -> tuple[list[str], Cells]:
    """Columns and rows: every arm's scores at every fraction, as the paper prints them: mean and sd over folds."""
    targets = targets_of(content)
    columns = ["trainer", "labels", *(f"Dice {target}" if target != "TSS" else "TSS AUROC" for target in targets)]
    rows = []
    for row in content["rows"]:
        scores = [mean_sd(row["scores"][target]) if target in row["scores"] else "" for target in targets]
        rows.append([name_of(row), f"{100 * row['fraction']:g} %", *scores])
    return columns, rows


def difference_cells(content: dict[str, Any], rule: str) -> tuple[list[str], Cells]:
    """Columns and rows: each arm less the reference by a budget rule, with interval and adjusted p."""
    rows = []
    for row in content["rows"]:
        for target, test in row["against"].get(rule, {}).items():
            between = " to ".join(f"{bound:+.3f}" for bound in test["ci95"]) if test["ci95"] else test["ci_reason"]
            p = test.get("wilcoxon", {}).get("p_holm")
            difference = "undefined" if test["difference"] is None else f"{test['difference']:+.3f}"
            rows.append(
                [name_of(row), f"{100 * row['fraction']:g} %", target, difference, between or "",
                 "" if p is None else "< 0.001" if p < 0.001 else number(p)]
            )  # fmt: skip
    return ["trainer", "labels", "target", "difference", "95 % interval", "p (Wilcoxon, Holm)"], rows


def cost_cells(content: dict[str, Any]) -> tuple[list[str], Cells]:
    """Columns and rows: what a training of each arm took."""
    kinds = ["labelled", "pseudo_labelled", "unlabelled"]
    rows = [
        [name_of(row), f"{100 * row['fraction']:g} %", *(f"{row['cost']['steps'][kind]:.0f}" for kind in kinds),
         f"{sum(row['cost']['samples'].values()):.0f}", f"{row['cost']['hours']:.2f}"]
        for row in content["rows"]
    ]  # fmt: skip
    steps = [f"steps on {kind.replace('_', '-')} samples" for kind in kinds]
    return ["trainer", "labels", *steps, "samples through the network", "hours"], rows


def as_csv(content: dict[str, Any]) -> str:
    """One line an arm and target, numbers in full."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rules = content["study"]["budgets"]
    kinds = ["labelled", "pseudo_labelled", "unlabelled"]
    compared = [f"{rule} {what}" for rule in rules for what in ("difference", "low", "high", "p_holm")]
    writer.writerow(
        ["trainer", "fraction", "segment_epochs", "target", "mean", "sd", "low", "high", "trainings", "patients",
         *compared, *(f"steps_{kind}" for kind in kinds), *(f"samples_{kind}" for kind in kinds), "hours"]
    )  # fmt: skip
    for row in content["rows"]:
        cost = row["cost"]
        for target, score in row["scores"].items():
            tests = [row["against"].get(rule, {}).get(target) for rule in rules]
            against = [cell for test in tests for cell in _compared(test)]
            writer.writerow(
                [row["trainer"], row["fraction"], row["segment_epochs"], target, score["mean"], score["sd"],
                 *(score["ci95"] or [None, None]), score["trainings"], score["patients"], *against,
                 *(cost["steps"][kind] for kind in kinds), *(cost["samples"][kind] for kind in kinds), cost["hours"]]
            )  # fmt: skip
    return text.getvalue()


def _compared(test: dict[str, Any] | None) -> list[float | None]:
    if not test:
        return [None] * 4
    return [test["difference"], *(test["ci95"] or [None, None]), test.get("wilcoxon", {}).get("p_holm")]


def as_latex(columns: Sequence[str], rows: Cells) -> str:
    """A `tabular` for booktabs."""
    lines = [f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}", "\\toprule"]
    lines += [_latex_row(columns), "\\midrule", *map(_latex_row, rows), "\\bottomrule", "\\end{tabular}", ""]
    return "\n".join(lines)


def _latex_row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("_", "\\_").replace("%", "\\%").replace("±", "$\\pm$") for cell in cells)
    return " & ".join(escaped) + " \\\\"
