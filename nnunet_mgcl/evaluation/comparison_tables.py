"""The tables that `mgcl compare` prints."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.markup import escape
from rich.table import Table

from nnunet_mgcl.evaluation.comparison import TESTS
from nnunet_mgcl.evaluation.tables import NAMES, interval, number, plain_table


def comparison_tables(content: dict[str, Any]) -> list[Table]:
    """A table for each model that the first one is compared with; p values are Holm's."""
    tables = []
    tests = [test for test in TESTS if any(test in entry for entry in content["comparisons"])]
    headings = {"t_test": "t-test", "wilcoxon": "Wilcoxon", "delong": "DeLong"}
    for model in content["models"][1:]:
        title = f"{content['dataset']}: {content['models'][0]} minus {model}"
        columns = ("target", "measure", "n", "diff.", "95 % interval", *(headings[test] for test in tests))
        table = plain_table(title, columns, 2)
        before = None
        for entry in content["comparisons"]:
            if entry["second"] != model:
                continue
            measure, target = entry["measure"], entry["target"]
            table.add_row(
                "" if target == before else escape(target), NAMES.get(measure, measure), str(entry["n"]),
                number(entry["difference"], measure), interval(entry["ci95"], measure),
                *(_p_value(entry.get(test)) for test in tests),
            )  # fmt: skip
            before = target
        tables.append(table)
    return tables


def reasons(content: dict[str, Any]) -> list[str]:
    """What to know about the numbers, a line each."""
    lines = [
        "first minus second; less is better in vol. diff., HD95 and Brier",
        "p values: adjusted by Holm's method over the targets and models of a measure",
    ]
    if content["patients"] < content["cases"]:
        lines.append(
            f"{content['cases']} cases of {content['patients']} patients: the tests take cases for independent, "
            "the intervals do not"
        )
    if content["tss_reason"]:
        lines.append(f"TSS: {content['tss_reason']}")
    found = (own["reason"] for entry in content["comparisons"] for test in TESTS if (own := entry.get(test)))
    lines += [f"no p value, {count} times: {reason}" for reason, count in Counter(filter(None, found)).items()]
    return lines


def _p_value(test: dict[str, Any] | None) -> str:
    if test is None:
        return ""
    p = test["p_holm"]
    return "none" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
