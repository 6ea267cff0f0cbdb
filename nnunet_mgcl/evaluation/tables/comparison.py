"""The tables that `mgcl compare` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table

from nnunet_mgcl.evaluation.comparison import TESTS
from nnunet_mgcl.evaluation.tables.format import NAMES, divided_told, interval, number, plain_table
from nnunet_mgcl.system.errors import counted


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


def reasons(content: dict[str, Any]) -> Iterator[str]:
    """What to know about the numbers, a line each."""
    yield "n: cases with a difference / cases compared, where not all differ; first, second: means over these cases"
    yield "diff.: first minus second; less is better in vol. diff., HD95 and Brier"
    yield "p values: adjusted by Holm's method over the targets and models of a measure; of AUROC DeLong's"
    if content["patients"] < content["cases"]:
        patients = counted(content["patients"], "patient")
        independent = "the tests take cases for independent, the intervals do not"
        yield f"{content['cases']} cases of {patients}: {independent}"
    for target, without in content["without_lesion"].items():
        if n := without["cases"]:
            by_model = zip(content["models"], without["false_positives"], strict=True)
            said = f"one is predicted all the same in {', '.join(f'{count} by {model}' for model, count in by_model)}"
            yield f"{target}: {counted(n, 'case')} {'has' if n == 1 else 'have'} no lesion; {said}"
    if divided := divided_told(content["divided_patients"]):
        yield divided
    if content["tss_reason"]:
        yield f"TSS: {content['tss_reason']}"
    entries = content["comparisons"]
    tests = (entry[test]["reason"] for entry in entries for test in TESTS if test in entry)
    for what, why in (("interval", (entry["ci_reason"] for entry in entries)), ("p value", tests)):
        yield from (f"no {what}, {count} times: {reason}" for reason, count in Counter(filter(None, why)).items())


def _differing(entry: dict[str, Any]) -> str:
    """`33/40` where 7 of 40 cases have the same value in both models; AUROC has none per case."""
    n, differing = entry["n"], entry.get("differing", entry["n"])
    return str(n) if differing == n else f"{differing}/{n}"


def _p_value(test: dict[str, Any] | None) -> str:
    if test is None:
        return ""
    p = test["p_holm"]
    return "none" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
