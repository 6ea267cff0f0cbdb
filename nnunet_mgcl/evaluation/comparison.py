"""`comparison.json`: the first model against each other one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnunet_mgcl import __version__
from nnunet_mgcl.evaluation.measures.classification import auroc, missing_class
from nnunet_mgcl.evaluation.measures.segmentation import MEASURES
from nnunet_mgcl.evaluation.statistics.bootstrap import NO_INTERVAL, draws, interval
from nnunet_mgcl.evaluation.statistics.delong import delong_test
from nnunet_mgcl.evaluation.statistics.paired_tests import holm, paired_tests

Cases = list[dict[str, Any]]

TESTS = ("t_test", "wilcoxon", "delong")
"""Keys of an entry's p values."""


def compare_evaluations(evaluations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The content of `comparison.json`.

    Args:
        evaluations: Content of the models' `evaluation.json`, of the same cases.

    Returns:
        One entry for each other model, target (or "TSS") and measure, with p values that Holm's method adjusts for
        all entries of that measure and test.
    """
    first = sorted(evaluations[0]["cases"], key=lambda case: case["case"])
    entries = []
    for other in evaluations[1:]:
        second = sorted(other["cases"], key=lambda case: case["case"])
        for entry in [*_segmentation(first, second), *_tss(first, second)]:
            entries.append({"first": evaluations[0]["model"], "second": other["model"]} | entry)
    _adjust(entries)
    patients = {case["patient"] for case in first}
    return {
        "nnunet_mgcl": __version__,
        "dataset": evaluations[0]["dataset"],
        "folds": evaluations[0]["folds"],
        "models": [run["model"] for run in evaluations],
        "cases": len(first),
        "patients": len(patients),
        "divided_patients": evaluations[0]["divided_patients"],
        "without_lesion": _without_lesion(evaluations),
        "settings": evaluations[0]["settings"],
        "tss_reason": _no_tss(evaluations),
        "comparisons": entries,
    }


def _without_lesion(evaluations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each target the `cases` without a lesion, and in how many of them each model predicts one.

    They have no overlap to compare: a model that finds nothing there has no Dice.
    """
    counts = {}
    for target in evaluations[0]["cases"][0]["targets"]:
        found = [
            [own["predicted_lesions"] for case in run["cases"] if not (own := case["targets"][target])["lesions"]]
            for run in evaluations
        ]
        counts[target] = {"cases": len(found[0]), "false_positives": [sum(n > 0 for n in own) for own in found]}
    return counts


def _no_tss(evaluations: Sequence[dict[str, Any]]) -> str | None:
    """Why the TSS is not compared."""
    if without := [run["model"] for run in evaluations if run["tss"]["reason"]]:
        return f"not evaluated in {', '.join(without)}"
    return None if evaluations[0]["tss"]["cases"] else "no case with a known TSS"


def _segmentation(first: Cases, second: Cases) -> list[dict[str, Any]]:
    patients = [case["patient"] for case in first]
    entries = []
    for target in first[0]["targets"]:
        for measure in MEASURES:
            a, b = ([case["targets"][target][measure] for case in run] for run in (first, second))
            entries.append({"target": target, "measure": measure} | paired_tests(a, b, patients))
    return entries


def _tss(first: Cases, second: Cases) -> list[dict[str, Any]]:
    """AUROC, and case by case the hits at 0.5 (of all, positive and negative cases) and the squared error."""
    kept = [i for i, case in enumerate(first) if case["tss_class"] is not None]
    probabilities = [[run[i]["probability"] for i in kept] for run in (first, second)]
    if not kept or any(p is None for own in probabilities for p in own):
        return []
    patients = [first[i]["patient"] for i in kept]
    a, b = (np.array(own, dtype=float) for own in probabilities)
    actual = np.array([first[i]["tss_class"] == 1 for i in kept])
    entries = [{"target": "TSS", "measure": "AUROC"} | _areas(a, b, actual, patients)]
    right_a, right_b = ((p >= 0.5) == actual for p in (a, b))
    for measure, counted in (("ACC", actual | ~actual), ("SEN", actual), ("SPE", ~actual)):
        tests = paired_tests(_counted(right_a, counted), _counted(right_b, counted), patients)
        entries.append({"target": "TSS", "measure": measure} | tests)
    tests = paired_tests(((a - actual) ** 2).tolist(), ((b - actual) ** 2).tolist(), patients)
    return [*entries, {"target": "TSS", "measure": "Brier"} | tests]


def _counted(right: np.ndarray, counted: np.ndarray) -> list[float | None]:
    """1 where a case is judged right, else 0; None where it does not count."""
    return [float(r) if c else None for r, c in zip(right, counted, strict=True)]


def _areas(a: np.ndarray, b: np.ndarray, actual: np.ndarray, patients: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {"n": len(actual), "left_out": 0}
    if min(actual.sum(), (~actual).sum()) < 2:
        undefined = dict.fromkeys(("mean_first", "mean_second", "difference")) | NO_INTERVAL
        return result | undefined | {"delong": {"z": None, "p": None, "reason": "fewer than two cases of a class"}}
    resamples = [d for d in draws(patients) if not missing_class(actual[d])]
    samples = [auroc(a[d], actual[d]) - auroc(b[d], actual[d]) for d in resamples]
    test = delong_test(a, b, actual)
    return result | {
        "mean_first": auroc(a, actual),
        "mean_second": auroc(b, actual),
        "difference": test.pop("difference"),
        **interval(samples),
        "delong": test,
    }


def _adjust(entries: list[dict[str, Any]]) -> None:
    for test in TESTS:
        for measure in {entry["measure"] for entry in entries}:
            own = [entry[test] for entry in entries if entry["measure"] == measure and test in entry]
            for result, p in zip(own, holm([result["p"] for result in own]), strict=True):
                result["p_holm"] = p
