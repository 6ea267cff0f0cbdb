"""What a study has found: `study.json`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from itertools import product
from typing import Any

import numpy as np
from rich.progress import track

from nnunet_mgcl.engine.costs import KINDS, Cost
from nnunet_mgcl.evaluation.measures.classification import auroc, missing_class
from nnunet_mgcl.evaluation.runs.current_evaluation import current_evaluation
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.statistics.averages import mean_sd
from nnunet_mgcl.evaluation.statistics.intervals import draws, interval
from nnunet_mgcl.evaluation.statistics.paired_tests import holm, paired_tests
from nnunet_mgcl.study.jobs import Arm, Job, Jobs
from nnunet_mgcl.system.versions import installed_versions

TSS = "TSS"
"""The target's name under which the classification stands."""
Evaluations = list[dict[str, Any]]
"""`evaluation.json` of an arm, one a seed."""


def collect(jobs: Jobs) -> dict[str, Any]:
    """Evaluates what is trained, and compares every arm with the reference at the same fraction.

    Returns:
        `rows`, one an arm: the scores of every target, what it cost, and its difference from the reference by each
        budget rule. Patients are the unit: a patient's values are averaged over its cases and the seeds, tests and
        intervals are of patients. p values are adjusted by Holm's method for all comparisons of a target and rule.
    """
    study, wanted = jobs.study, jobs.all()
    by_arm: dict[Arm, list[Job]] = defaultdict(list)
    for job in wanted:
        by_arm[job.arm].append(job)
    whole = {arm: own for arm, own in by_arm.items() if all(map(jobs.is_done, own))}
    evaluations: dict[Arm, Evaluations] = defaultdict(list)
    for arm, seed in track([*product(whole, study.seeds)], "Evaluating", transient=True):
        evaluations[arm].append(_evaluation(jobs, whole[arm], seed))
    rows = [_row(jobs, arm, evaluations[arm], whole[arm]) for arm in evaluations]
    for row, arm in zip(rows, evaluations, strict=True):
        row["against"] = {
            rule: _against(evaluations[arm], evaluations[other])
            for rule, other in _references(jobs, arm).items()
            if other in evaluations
        }
    _adjust(rows)
    return {
        "versions": installed_versions(),
        "study": study.model_dump(mode="json"),
        "dataset": jobs.layout.name,
        "phantom": "phantom" in jobs.dataset_json,
        "jobs": {"done": sum(map(jobs.is_done, wanted)), "wanted": len(wanted)},
        "rows": rows,
    }


def _references(jobs: Jobs, arm: Arm) -> dict[str, Arm]:
    """Budget rule -> what an arm is compared with; a classifier, which has no `segment`, stands under the first."""
    if arm.trainer == jobs.study.reference:
        return {}
    same = Arm(jobs.study.reference, arm.fraction)
    if arm.trainer in jobs.study.classifiers:
        return {jobs.study.budgets[0]: same}
    found = {"equal-finetuning": same, "equal-total": jobs.matched(arm) or same}
    return {rule: found[rule] for rule in jobs.study.budgets}


def _evaluation(jobs: Jobs, own: Sequence[Job], seed: int) -> dict[str, Any]:
    model = jobs.model(next(job for job in own if job.seed == seed))
    run = ValidatedRun.find(jobs.layout, model, [str(fold) for fold in jobs.study.folds])
    with redirect_stdout(StringIO()):  # a line or two on every model
        return current_evaluation(run)


def _row(jobs: Jobs, arm: Arm, evaluations: Evaluations, own: Sequence[Job]) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    for target in evaluations[0]["segmentation"]:
        folds = [
            fold["mean"]
            for evaluation in evaluations
            for fold in evaluation["segmentation"][target]["dice"]["per_fold"].values()
        ]
        patients = _by_patient(evaluations, target)
        samples = [float(np.mean([patients[i] for i in draw])) for draw in draws([*map(str, range(len(patients)))])]
        scores[target] = _folds(folds) | {"patients": len(patients)} | interval(samples)
    if (tss := _tss(evaluations)) is not None:
        scores[TSS] = tss
    return {
        "trainer": arm.trainer, "fraction": arm.fraction, "segment_epochs": arm.epochs, "scores": scores,
        "cost": _cost(jobs, own),
    }  # fmt: skip


def _folds(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and sd over folds and seeds, the paper's form."""
    average = mean_sd(values, "training")
    return {"trainings": average.pop("n")} | average


def _by_patient(evaluations: Evaluations, target: str) -> list[float]:
    """The Dice of every patient, over its cases and the seeds; without any defined one it is left out."""
    values: dict[str, list[float]] = defaultdict(list)
    for evaluation in evaluations:
        for case in evaluation["cases"]:
            if (value := case["targets"][target]["dice"]) is not None:
                values[case["patient"]].append(value)
    return [float(np.mean(own)) for own in values.values()]


def _probabilities(evaluations: Evaluations) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
    """Probabilities `(seeds, n)` of the cases with a known TSS, their classes and patients; None without a head."""
    if any(evaluation["tss"]["reason"] for evaluation in evaluations):
        return None
    cases = [sorted(own["cases"], key=lambda case: case["case"]) for own in evaluations]
    known = [i for i, case in enumerate(cases[0]) if case["tss_class"] is not None]
    values = np.array([[own[i]["probability"] for i in known] for own in cases], dtype=float)
    return values, np.array([cases[0][i]["tss_class"] == 1 for i in known]), [cases[0][i]["patient"] for i in known]


def _tss(evaluations: Evaluations) -> dict[str, Any] | None:
    found = _probabilities(evaluations)
    if found is None or missing_class(found[1]):
        return None
    values, actual, patients = found
    areas = [float(auroc(own, actual)) for own in values]
    return _folds(areas) | {"patients": len(set(patients))} | interval(_areas(_pairs(values, actual), actual, patients))


def _pairs(values: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Of each positive and negative case in how many seeds the first stands higher, ties as half; their mean is AUROC.

    Args:
        values: Probabilities `(seeds, n)`.
        actual: Classes `(n,)`.
    """
    difference = values[:, actual][:, :, None] - values[:, ~actual][:, None]
    return (np.sign(difference) / 2 + 0.5).mean(axis=0)


def _areas(pairs: np.ndarray, actual: np.ndarray, patients: Sequence[str]) -> list[float]:
    """The mean of the pairs on every resample of the patients that holds both classes."""
    areas = []
    for draw in draws(patients):
        count = np.bincount(draw, minlength=len(actual)).astype(float)
        positive, negative = count[actual], count[~actual]
        if number := positive.sum() * negative.sum():
            areas.append(float(positive @ pairs @ negative / number))
    return areas


def _against(own: Evaluations, other: Evaluations) -> dict[str, Any]:
    """Target -> an arm less its reference, patient by patient; intervals resample patients."""
    found: dict[str, Any] = {}
    for target in own[0]["segmentation"]:
        found[target] = paired_tests(*_paired(own, other, target))
    mine, theirs = _probabilities(own), _probabilities(other)
    if mine and theirs and not missing_class(mine[1]):
        (values, actual, patients), (others, *_) = mine, theirs
        pairs = _pairs(values, actual) - _pairs(others, actual)
        found[TSS] = {"difference": float(pairs.mean()), "n": len(actual)} | interval(_areas(pairs, actual, patients))
    return found


def _paired(own: Evaluations, other: Evaluations, target: str) -> tuple[list[float], list[float], list[str]]:
    """The Dice of every patient, over the seeds and the cases that are defined in all of both, and the patients."""
    cases: dict[str, list[list[float | None]]] = defaultdict(lambda: [[], []])
    patient = {case["case"]: case["patient"] for case in own[0]["cases"]}
    for side, evaluations in enumerate((own, other)):
        for case in (case for evaluation in evaluations for case in evaluation["cases"]):
            cases[case["case"]][side].append(case["targets"][target]["dice"])
    patients: dict[str, list[np.ndarray]] = defaultdict(list)
    for name, sides in sorted(cases.items()):
        means = np.array(sides, dtype=float).mean(axis=1)  # None: nan
        if not np.isnan(means).any():
            patients[patient[name]].append(means)
    first, second = np.array([np.mean(own, axis=0) for own in patients.values()]).reshape(-1, 2).T.tolist()
    return first, second, [*patients]


def _cost(jobs: Jobs, own: Sequence[Job]) -> dict[str, Any]:
    """The mean over the trainings: optimiser steps and samples by what the loss knew of them, and hours."""
    parts: list[Cost] = [cost for job in own for cost in jobs.parts(job).values()]
    steps, samples = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    for part in parts:
        total = sum(part.samples.values()) or 1.0
        for kind, number in part.samples.items():
            samples[kind] += number / len(own)
            steps[kind] += part.steps * number / total / len(own)
    return {"steps": steps, "samples": samples, "hours": sum(part.seconds for part in parts) / 3600 / len(own)}


def _adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Holm's adjustment of Wilcoxon's p for all comparisons of a target and rule."""
    tests: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        for rule, targets in row["against"].items():
            for target, test in targets.items():
                if "wilcoxon" in test:
                    tests[rule, target].append(test["wilcoxon"])
    for own in tests.values():
        for test, p in zip(own, holm([test["p"] for test in own]), strict=True):
            test["p_holm"] = p
