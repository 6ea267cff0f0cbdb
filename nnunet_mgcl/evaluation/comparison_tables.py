"""The tables that `mgcl compare` prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from nnunet_mgcl.evaluation.tables import NAMES, interval, number, plain_table


def comparison_tables(content: dict[str, Any]) -> list[Table]:
    """A table for each model that the first one is compared with; p values are Holm's."""
    tables = []
    for model in content["models"][1:]:
        entries = [entry for entry in content["comparisons"] if entry["second"] == model]
        title = f"{content['dataset']}: {content['models'][0]} minus {model}"
        table = plain_table(title, ("target", "measure", "n", "difference", "95 % interval", "t-test", "Wilcoxon"), 2)
        if any("delong" in entry for entry in entries):
            table.add_column("DeLong", justify="right")
        before = None
        for entry in entries:
            measure, target = entry["measure"], entry["target"]
            table.add_row(
                "" if target == before else target, NAMES.get(measure, measure), str(entry["n"]),
                number(entry["difference"], measure), interval(entry["ci95"], measure),
                *(_p_value(entry.get(test)) for test in ("t_test", "wilcoxon", "delong")[: len(table.columns) - 5]),
            )  # fmt: skip
            before = target
        tables.append(table)
    return tables


def reasons(content: dict[str, Any]) -> list[str]:
    """What to know about the numbers, a line each."""
    lines = [f"p values: adjusted by Holm's method for the {len(_family(content))} comparisons of a measure"]
    if content["patients"] < content["cases"]:
        lines.append(
            f"{content['cases']} cases of {content['patients']} patients: the tests take cases for independent, "
            "the intervals do not"
        )
    if content["tss_reason"]:
        lines.append(f"TSS: {content['tss_reason']}")
    found = {
        (own["reason"], f"{entry['target']} {NAMES.get(entry['measure'], entry['measure'])}")
        for entry in content["comparisons"]
        for test in ("t_test", "wilcoxon", "delong")
        if (own := entry.get(test)) and own["reason"]
    }
    for reason in sorted({reason for reason, _ in found}):
        lines.append(f"no p value for {', '.join(sorted(name for own, name in found if own == reason))}: {reason}")
    return lines


def _family(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in content["comparisons"] if entry["measure"] == "dice"]


def _p_value(test: dict[str, Any] | None) -> str:
    if test is None:
        return ""
    p = test["p_holm"]
    return "none" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
