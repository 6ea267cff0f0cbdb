"""`comparison.json`: the first model against each other one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from nnunet_mgcl import __version__
from nnunet_mgcl.evaluation.measures.classification import auroc, missing_class
from nnunet_mgcl.evaluation.measures.segmentation import MEASURES
from nnunet_mgcl.evaluation.statistics.delong import delong_test
from nnunet_mgcl.evaluation.statistics.intervals import NO_INTERVAL, draws, interval
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
    without = [run["model"] for run in evaluations if run["tss"]["reason"]]
    unknown = None if without or evaluations[0]["tss"]["cases"] else "no case with a known TSS"
    return {
        "nnunet_mgcl": __version__,
        **{key: evaluations[0][key] for key in ("dataset", "folds", "divided_patients", "settings")},
        "models": [run["model"] for run in evaluations],
        "cases": len(first),
        "patients": len({case["patient"] for case in first}),
        "without_lesion": _without_lesion(evaluations),
        "tss_reason": f"not evaluated in {', '.join(without)}" if without else unknown,
        "comparisons": entries,
    }


def _without_lesion(evaluations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each target the `cases` without a lesion, and in how many of them each model predicts one.

    They have no overlap to compare: a model that finds nothing there has no Dice.
    """
    counts = {}
    for target in _shared_targets(*(run["cases"] for run in evaluations)):
        by_model = [[case["targets"][target] for case in run["cases"]] for run in evaluations]
        predicted = [[case["predicted_lesions"] for case in cases if not case["lesions"]] for cases in by_model]
        counts[target] = {"cases": len(predicted[0]), "false_positives": [sum(n > 0 for n in ns) for ns in predicted]}
    return counts


def _shared_targets(*runs: Cases) -> list[str]:
    """The first one's, none where one of them is a classifier, which segments nothing."""
    return [target for target in runs[0][0]["targets"] if all(target in cases[0]["targets"] for cases in runs)]


def _segmentation(first: Cases, second: Cases) -> list[dict[str, Any]]:
    patients = [case["patient"] for case in first]
    entries = []
    for target, measure in product(_shared_targets(first, second), MEASURES):
        a, b = ([case["targets"][target][measure] for case in run] for run in (first, second))
        entries.append({"target": target, "measure": measure} | paired_tests(a, b, patients))
    return entries


def _tss(first: Cases, second: Cases) -> list[dict[str, Any]]:
    """AUROC, and case by case the hits at 0.5 (of all, positive and negative cases) and the squared error."""
    kept = [i for i, case in enumerate(first) if case["tss_class"] is not None]
    probabilities = [[run[i]["probability"] for i in kept] for run in (first, second)]
    if not kept or any(None in values for values in probabilities):
        return []
    patients = [first[i]["patient"] for i in kept]
    a, b = (np.array(values, dtype=float) for values in probabilities)
    actual = np.array([first[i]["tss_class"] == 1 for i in kept])
    right = [((p >= 0.5) == actual).astype(float) for p in (a, b)]
    judged = {
        "ACC": right,
        "SEN": [np.where(actual, hits, None) for hits in right],
        "SPE": [np.where(actual, None, hits) for hits in right],
        "Brier": [(p - actual) ** 2 for p in (a, b)],
    }
    tests = {measure: paired_tests(a.tolist(), b.tolist(), patients) for measure, (a, b) in judged.items()}
    tests = {"AUROC": _areas(a, b, actual, patients)} | tests
    return [{"target": "TSS", "measure": measure} | test for measure, test in tests.items()]


def _areas(a: np.ndarray, b: np.ndarray, actual: np.ndarray, patients: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {"n": len(actual), "left_out": 0}
    if min(actual.sum(), (~actual).sum()) < 2:
        undefined = dict.fromkeys(("mean_first", "mean_second", "difference")) | NO_INTERVAL
        return result | undefined | {"delong": {"z": None, "p": None, "reason": "fewer than two cases of a class"}}
    samples = [auroc(a[d], actual[d]) - auroc(b[d], actual[d]) for d in draws(patients) if not missing_class(actual[d])]
    test = delong_test(a, b, actual)
    result |= {"mean_first": auroc(a, actual), "mean_second": auroc(b, actual), "difference": test.pop("difference")}
    return result | interval(samples) | {"delong": test}


def _adjust(entries: list[dict[str, Any]]) -> None:
    for test in TESTS:
        for measure in {entry["measure"] for entry in entries}:
            own = [entry[test] for entry in entries if entry["measure"] == measure and test in entry]
            for result, p in zip(own, holm([result["p"] for result in own]), strict=True):
                result["p_holm"] = p
