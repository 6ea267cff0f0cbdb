"""The table of a study, re-derived from its cases with plain loops."""

from __future__ import annotations

import csv
from itertools import product

import numpy as np
import pytest
from scipy import stats

from nnunet_mgcl.study import results
from nnunet_mgcl.study.jobs import Arm
from nnunet_mgcl.study.page import write_study
from nnunet_mgcl.study.results import collect
from nnunet_mgcl.study.tables import as_latex, score_cells

REFERENCE, OTHER = "MGCLTrainerRandomInit", "SimCLRTrainer"
PATIENTS = {f"case_{n}": f"p{n // 2}" for n in range(8)}  # two cases each
CLASSES = {case: [1, 0, 0, 1, None, 1, 0, 0][n] for n, case in enumerate(PATIENTS)}


def dice(arm: Arm, seed: int, case: str) -> float | None:
    if case == "case_7" and arm.trainer == OTHER:
        return None
    better = 0.1 * (arm.trainer == OTHER) + 0.05 * ((arm.epochs or 4) / 4 - 1)
    return round(
        0.3 + 0.4 * arm.fraction + better + 0.01 * seed + 0.02 * int(case[-1]) ** 2 * (arm.trainer == OTHER), 6
    )


def probability(arm: Arm, seed: int, case: str) -> float:
    return (int(case[-1]) * (3 + 2 * (arm.trainer == OTHER)) + seed) % 8 / 8


def evaluation(arm: Arm, seed: int) -> dict:
    """As `mgcl evaluate` would write it."""
    fold = {case: int(case[-1]) // 4 for case in PATIENTS}
    cases = [
        {"case": case, "patient": PATIENTS[case], "fold": fold[case], "tss_class": CLASSES[case],
         "probability": probability(arm, seed, case), "targets": {"lesion": {"dice": dice(arm, seed, case)}}}
        for case in reversed(PATIENTS)
    ]  # fmt: skip
    means = {
        str(number): float(
            np.mean([own for case in PATIENTS if fold[case] == number and (own := dice(arm, seed, case))])
        )
        for number in (0, 1)
    }
    per_fold = {number: {"mean": mean} for number, mean in means.items()}
    return {"cases": cases, "segmentation": {"lesion": {"dice": {"per_fold": per_fold}}}, "tss": {"reason": None}}


@pytest.fixture
def study(make_jobs, finish, monkeypatch):
    """A finished study; the other trainer took thrice the reference's samples."""
    jobs = make_jobs()

    def finished(own):
        for job in own:
            costs = {"segment/all branches": {"steps": 10, "seconds": 1800.0, "samples": {"labelled": 100.0}}}
            if job.arm.trainer == OTHER:
                part = {"steps": 5, "seconds": 600.0, "samples": {"unlabelled": 150.0, "pseudo_labelled": 50.0}}
                costs |= {f"simclr/{branch}": part for branch in jobs.config.modalities}
            finish(jobs, job, costs)

    finished(jobs.first())
    finished(jobs.equal_total())
    monkeypatch.setattr(results, "_evaluation", lambda _, own, seed: evaluation(own[0].arm, seed))
    return jobs


def row(content, arm):
    return next(own for own in content["rows"] if Arm(own["trainer"], own["fraction"], own["segment_epochs"]) == arm)


def test_scores_are_over_folds_and_seeds_and_differences_over_patients(study) -> None:
    content = collect(study)
    assert len(content["rows"]) == 2 * 3 and content["jobs"] == {"done": 24, "wanted": 24}
    other, reference, longer = Arm(OTHER, 0.5), Arm(REFERENCE, 0.5), Arm(REFERENCE, 0.5, 12)
    score = row(content, other)["scores"]["lesion"]
    folds = [
        own["mean"] for seed in (0, 7)
        for own in evaluation(other, seed)["segmentation"]["lesion"]["dice"]["per_fold"].values()
    ]  # fmt: skip
    assert score["trainings"] == 4
    assert (score["mean"], score["sd"]) == pytest.approx((np.mean(folds), np.std(folds, ddof=1)))
    for rule, against in (("equal-finetuning", reference), ("equal-total", longer)):
        test = row(content, other)["against"][rule]["lesion"]
        by_patient: dict[str, list[float]] = {}
        for case, patient in PATIENTS.items():
            if case != "case_7":  # undefined for one of the two
                own = [dice(other, seed, case) - dice(against, seed, case) for seed in (0, 7)]
                by_patient.setdefault(patient, []).append(np.mean(own))
        differences = [np.mean(own) for own in by_patient.values()]
        assert test["difference"] == pytest.approx(np.mean(differences)) and test["n"] == 4
        assert test["wilcoxon"]["p"] == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert row(content, reference)["against"] == {} == row(content, longer)["against"]


def test_auroc_is_the_mean_of_the_seeds(study) -> None:
    content, areas = collect(study), {}
    for arm, seed in product((Arm(OTHER, 0.5), Arm(REFERENCE, 0.5)), (0, 7)):
        positive, negative = (
            [probability(arm, seed, case) for case, own in CLASSES.items() if own == wanted] for wanted in (1, 0)
        )
        pairs = [(a > b) + 0.5 * (a == b) for a in positive for b in negative]
        areas.setdefault(arm, []).append(np.mean(pairs))
    own = row(content, Arm(OTHER, 0.5))
    assert own["scores"]["TSS"]["mean"] == pytest.approx(np.mean(areas[Arm(OTHER, 0.5)]))
    difference = np.mean(areas[Arm(OTHER, 0.5)]) - np.mean(areas[Arm(REFERENCE, 0.5)])
    assert own["against"]["equal-finetuning"]["TSS"]["difference"] == pytest.approx(difference)


def test_costs_are_of_one_training_by_what_the_loss_knew(study) -> None:
    cost = row(collect(study), Arm(OTHER, 0.5))["cost"]
    assert cost["samples"] == pytest.approx({"labelled": 100, "unlabelled": 450, "pseudo_labelled": 150})
    assert cost["steps"] == pytest.approx({"labelled": 10, "unlabelled": 11.25, "pseudo_labelled": 3.75})
    assert cost["hours"] == pytest.approx((1800 + 3 * 600) / 3600)


def test_p_values_are_adjusted_for_all_comparisons_of_a_rule(study) -> None:
    content = collect(study)
    tests = [
        row(content, Arm(OTHER, fraction))["against"]["equal-total"]["lesion"]["wilcoxon"] for fraction in (0.5, 1.0)
    ]
    smallest = min(test["p"] for test in tests)
    assert min(test["p_holm"] for test in tests) == pytest.approx(min(1, 2 * smallest))


def test_an_arm_with_a_missing_training_is_left_out(study) -> None:
    job = next(job for job in study.first() if job.arm == Arm(OTHER, 1.0))
    (study.fold(job).root / "checkpoint_final.pth").unlink()
    content = collect(study)
    assert content["jobs"]["done"] == 23
    assert (OTHER, 1.0) not in {(own["trainer"], own["fraction"]) for own in content["rows"]}


def test_a_classifier_stands_beside_the_trainers(study, make_jobs, monkeypatch, tmp_path) -> None:
    """It has no target of segmentation, and is compared by its probabilities."""
    jobs = make_jobs(classifiers=["resnet"], masks=OTHER)
    for job in jobs.classifiers():
        folder = jobs.fold(job).validation
        folder.mkdir(parents=True)
        (folder / "tss.csv").touch()

    def said(_, own, seed):
        content = evaluation(own[0].arm, seed)
        if own[0].arm.trainer == "resnet":
            content["segmentation"] = {}
            for case in content["cases"]:
                case |= {"targets": {}, "probability": float(case["tss_class"] or 0)}
        return content

    monkeypatch.setattr(results, "_evaluation", said)
    content = collect(jobs)
    own = row(content, Arm("resnet", 0.5))
    assert [*own["scores"]] == ["TSS"] and own["scores"]["TSS"]["mean"] == 1
    assert [*own["against"]] == ["equal-finetuning"] and [*own["against"]["equal-finetuning"]] == ["TSS"]
    assert "resnet" in write_study(tmp_path / "report", content).read_text()


def test_page_csv_and_latex_hold_the_table(study, tmp_path) -> None:
    content = collect(study)
    page = write_study(tmp_path / "report", content).read_text()
    columns, rows = score_cells(content)
    assert columns[2:] == ["Dice lesion", "TSS AUROC"] and all(cell in page for own in rows for cell in own)
    with (tmp_path / "report" / "study.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * 2
    own = next(line for line in lines if line["trainer"] == OTHER and line["target"] == "lesion")
    assert float(own["mean"]) == row(content, Arm(OTHER, 0.5))["scores"]["lesion"]["mean"]
    assert float(own["equal-total p_holm"]) <= 1 and float(own["samples_unlabelled"]) == 450
    assert (tmp_path / "report" / "study.tex").read_text() == as_latex(columns, rows)
    assert "One budget rule only" not in page
    content["study"]["budgets"] = ["equal-finetuning"]
    assert "One budget rule only: equal-finetuning" in write_study(tmp_path / "report", content).read_text()
