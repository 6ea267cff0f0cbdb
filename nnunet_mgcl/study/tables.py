"""A study's table, as text cells, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnunet_mgcl.engine.costs import KINDS
from nnunet_mgcl.evaluation.tables.format import mean_sd, number
from nnunet_mgcl.study.results import TSS
from nnunet_mgcl.system.csv_table import csv_text

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
    columns = ["trainer", "labels", *(f"Dice {target}" if target != TSS else "TSS AUROC" for target in targets)]
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
    rows = [
        [name_of(row), f"{100 * row['fraction']:g} %", *(f"{row['cost']['steps'][kind]:.0f}" for kind in KINDS),
         f"{sum(row['cost']['samples'].values()):.0f}", f"{row['cost']['hours']:.2f}"]
        for row in content["rows"]
    ]  # fmt: skip
    steps = [f"steps on {kind.replace('_', '-')} samples" for kind in KINDS]
    return ["trainer", "labels", *steps, "samples through the network", "hours"], rows


def as_csv(content: dict[str, Any]) -> str:
    """One line an arm and target, numbers in full."""
    rows = [_csv_row(content, row, target) for row in content["rows"] for target in row["scores"]]
    return csv_text([*rows[0]], rows)


def _csv_row(content: dict[str, Any], row: dict[str, Any], target: str) -> dict[str, Any]:
    score, cost = row["scores"][target], row["cost"]
    cells = {key: row[key] for key in ("trainer", "fraction", "segment_epochs")} | {"target": target}
    cells |= {"mean": score["mean"], "sd": score["sd"], **_bounds("", score)}
    cells |= {key: score[key] for key in ("trainings", "patients")}
    for rule in content["study"]["budgets"]:
        test = row["against"].get(rule, {}).get(target, {})
        cells |= {f"{rule} difference": test.get("difference"), **_bounds(f"{rule} ", test)}
        cells |= {f"{rule} p_holm": test.get("wilcoxon", {}).get("p_holm")}
    for measure in ("steps", "samples"):
        cells |= {f"{measure}_{kind}": cost[measure][kind] for kind in KINDS}
    return cells | {"hours": cost["hours"]}


def _bounds(prefix: str, test: dict[str, Any]) -> dict[str, float | None]:
    low, high = test.get("ci95") or (None, None)
    return {f"{prefix}low": low, f"{prefix}high": high}


def as_latex(columns: Sequence[str], rows: Cells) -> str:
    """A `tabular` for booktabs."""
    lines = [f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}", "\\toprule"]
    lines += [_latex_row(columns), "\\midrule", *map(_latex_row, rows), "\\bottomrule", "\\end{tabular}", ""]
    return "\n".join(lines)


def _latex_row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("_", "\\_").replace("%", "\\%").replace("±", "$\\pm$") for cell in cells)
    return " & ".join(escaped) + " \\\\"
