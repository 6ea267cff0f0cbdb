from __future__ import annotations

import json

import pytest

from nnunet_mgcl.study.jobs import Arm, Job
from nnunet_mgcl.system.errors import UserError

REFERENCE, OTHER = "MGCLTrainerRandomInit", "SimCLRTrainer"


def cost(**samples):
    return {"steps": 1, "seconds": 1.0, "samples": samples}


def finish_all(jobs, finish, pretraining=0.0, segment=100.0) -> None:
    """Every training of the first stage; a phase has a part for each of the three branches."""
    for job in jobs.first():
        costs = {"segment/all branches": cost(labelled=segment), "tss/lesion": cost(labelled=1e6)}
        if job.arm.trainer == OTHER:
            costs |= {f"simclr/{branch}": cost(unlabelled=pretraining) for branch in jobs.config.modalities}
        finish(jobs, job, costs)


def test_every_trainer_fraction_seed_and_fold_is_a_job(make_jobs) -> None:
    jobs = make_jobs().first()
    assert len(jobs) == len(set(jobs)) == 2 * 2 * 2 * 2
    assert Job(Arm(OTHER, 0.5), seed=7, fold=1) in jobs


def test_plans_hold_fraction_seed_and_settings(make_jobs) -> None:
    jobs = make_jobs()
    jobs.write_plans(jobs.first())
    plans = json.loads(jobs.layout.plans("MGCLStudy_first_f0p5_s7").read_text())
    block = plans["configurations"]["2d"]["mgcl"]
    assert plans["plans_name"] == "MGCLStudy_first_f0p5_s7"
    assert (block["random_seed"], block["labelled_fraction"], "pretraining_seed" in block) == (7, 0.5, False)
    assert block["simclr"]["epochs"] == 3 and block["segment"]["epochs"] == 4
    shared = make_jobs(share_pretraining=True, name="shared")
    shared.write_plans(shared.first())
    plans = json.loads(shared.layout.plans("MGCLStudy_shared_f0p5_s7").read_text())
    assert plans["configurations"]["2d"]["mgcl"]["pretraining_seed"] == 0


def test_plans_of_another_study_are_not_overwritten(make_jobs) -> None:
    jobs = make_jobs()
    jobs.write_plans(jobs.first())
    jobs.write_plans(jobs.first())
    with pytest.raises(UserError, match="with other settings"):
        make_jobs(settings={"segment": {"epochs": 9}}).write_plans(jobs.first())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"trainers": [REFERENCE, "NobodysTrainer"]}, "-tr NobodysTrainer"),
        ({"classifiers": ["resnt"], "masks": OTHER}, "did you mean 'resnet'"),
        ({"settings": {"simclr": {"lr": 0}}}, "simclr.lr"),
    ],
)
def test_wrong_trainers_and_settings_are_refused_before_anything_runs(make_jobs, changed, named) -> None:
    jobs = make_jobs(**changed)
    with pytest.raises(UserError) as refusal:
        jobs.write_plans(jobs.first())
    assert named in str(refusal.value)


def test_command_begins_goes_on_and_validates(make_jobs, finish) -> None:
    jobs = make_jobs()
    job = Job(Arm(OTHER, 0.5), seed=7, fold=1)
    words = [
        "nnUNetv2_train",
        "901",
        "2d",
        "1",
        "-tr",
        "SimCLRTrainer",
        "-p",
        "MGCLStudy_first_f0p5_s7",
        "-device",
        "cpu",
    ]
    assert jobs.command(job) == words
    jobs.fold(job).inputs.parent.mkdir(parents=True)
    jobs.fold(job).inputs.touch()
    assert jobs.command(job) == [*words, "--c"]
    (jobs.fold(job).root / "checkpoint_final.pth").touch()
    assert jobs.command(job) == [*words, "--val"] and not jobs.is_done(job)
    finish(jobs, job)
    assert jobs.is_done(job)


def test_classifiers_read_the_masks_of_a_trainer_at_the_same_fraction_and_seed(make_jobs, finish) -> None:
    jobs = make_jobs(classifiers=["resnet", "resnet-mask"], masks=OTHER)
    assert len(jobs.all()) == 16 + 16 and not {*jobs.classifiers()} & {*jobs.first()}
    job = Job(Arm("resnet-mask", 0.5), seed=7, fold=1)
    words = [
        "mgcl",
        "classifier",
        "-d",
        "901",
        "-c",
        "2d",
        "-f",
        "1",
        "--method",
        "resnet-mask",
        "-p",
        "MGCLStudy_first_f0p5_s7",
        "-device",
        "cpu",
    ]
    masks = ["--masks", f"{OTHER}__MGCLStudy_first_f0p5_s7__2d"]
    assert job in jobs.classifiers() and jobs.command(job) == [*words, *masks]
    assert "--masks" not in jobs.command(Job(Arm("resnet", 0.5), 7, 1))
    finish(jobs, job)
    assert not jobs.is_done(job)
    (jobs.fold(job).validation / "tss.csv").touch()
    assert jobs.is_done(job)


@pytest.mark.parametrize(("pretraining", "epochs"), [(0.0, None), (1.0, 8), (99.0, 8), (100.0, 8), (101.0, 12)])
def test_the_reference_gets_what_the_other_took_in_whole_multiples(make_jobs, finish, pretraining, epochs) -> None:
    """Three branches with so many samples each are as many through the whole network."""
    jobs = make_jobs()
    finish_all(jobs, finish, pretraining)
    arm = jobs.matched(Arm(OTHER, 0.5))
    assert arm == (Arm(REFERENCE, 0.5, epochs) if epochs else None)
    assert len(jobs.equal_total()) == (2 * 2 * 2 if epochs else 0)
    if arm:
        jobs.write_plans(jobs.equal_total())
        plans = json.loads(jobs.layout.plans(f"MGCLStudy_first_f0p5_s7_e{epochs}").read_text())
        assert plans["configurations"]["2d"]["mgcl"]["segment"]["epochs"] == epochs


def test_nothing_is_matched_before_all_trainings_of_an_arm_are_there(make_jobs, finish) -> None:
    jobs = make_jobs()
    assert jobs.equal_total() == [] and jobs.matched(Arm(REFERENCE, 0.5)) is None
    finish_all(jobs, finish, 50.0)
    jobs.fold(Job(Arm(OTHER, 0.5), 7, 1)).costs.unlink()
    assert {job.arm for job in jobs.equal_total()} == {Arm(REFERENCE, 1.0, 8)}
    assert make_jobs(budgets=["equal-finetuning"]).equal_total() == []
