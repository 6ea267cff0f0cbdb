"""The tables that `mgcl compare` prints."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.markup import escape
from rich.table import Table

from nnunet_mgcl.evaluation.comparison import TESTS
from nnunet_mgcl.evaluation.tables.format import NAMES, interval, number, plain_table, told


def comparison_tables(content: dict[str, Any]) -> list[Table]:
    """A table for each model that the first one is compared with; p values are Holm's."""
    tables = []
    t_test = "t-test\nDeLong" if any("delong" in entry for entry in content["comparisons"]) else "t-test"
    for model in content["models"][1:]:
        title = f"{content['dataset']}: {content['models'][0]} minus {model}"
        columns = ("", "measure", "n", "first", "second", "diff.", "95 % interval", t_test, "Wil-\ncoxon")
        table = plain_table(title, columns, 2)
        before = None
        for entry in (entry for entry in content["comparisons"] if entry["second"] == model):
            measure, target = entry["measure"], entry["target"]
            table.add_row(
                "" if target == before else escape(target), NAMES.get(measure, measure), _differing(entry),
                *(number(entry[which], measure) for which in ("mean_first", "mean_second", "difference")),
                interval(entry["ci95"], measure),
                _p_value(entry.get("t_test", entry.get("delong"))), _p_value(entry.get("wilcoxon")),
            )  # fmt: skip
            before = target
        tables.append(table)
    return tables


def reasons(content: dict[str, Any]) -> list[str]:
    """What to know about the numbers, a line each."""
    entries = content["comparisons"]
    tests = (entry[test]["reason"] for entry in entries for test in TESTS if test in entry)
    missing = {"interval": (entry["ci_reason"] for entry in entries), "p value": tests}
    counts = [(what, Counter(filter(None, why))) for what, why in missing.items()]
    return told("comparison", content, missing=counts)


def _differing(entry: dict[str, Any]) -> str:
    """`33/40` where 7 of 40 cases have the same value in both models; AUROC has none per case."""
    n, differing = entry["n"], entry.get("differing", entry["n"])
    return str(n) if differing == n else f"{differing}/{n}"


def _p_value(test: dict[str, Any] | None) -> str:
    if test is None:
        return ""
    p = test["p_holm"]
    return "none" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
