from __future__ import annotations

import os
import subprocess
import sys
from subprocess import PIPE
from threading import Thread

import pytest

from nnunet_mgcl.study.running import log_file, run_missing

SCRIPT = """
import os, sys
from pathlib import Path
fold, fails = Path(sys.argv[1]), sys.argv[2] == "fails"
print("threads", os.environ.get("OMP_NUM_THREADS"))
print("seen", os.environ.get("CUDA_VISIBLE_DEVICES"))
if fails:
    sys.exit(3)
(fold / "validation").mkdir(parents=True)
(fold / "validation/summary.json").write_text("{}")
(fold / "checkpoint_final.pth").touch()
"""


@pytest.fixture
def make_quick_jobs(make_jobs):
    """Jobs whose trainings leave their files at once; they fail where a fold's number is among `failing`."""

    def make(failing=(), **changed):
        jobs = make_jobs(**changed)

        def command(job):  # of the instance, so that it reaches submitit's processes with it
            return [os.path.basename(sys.executable), "-c", SCRIPT, str(jobs.fold(job).root),
                    "fails" if job.fold in failing else "works"]  # fmt: skip

        jobs.command = command
        return jobs

    return make


@pytest.mark.parametrize("executor", [{"jobs": 1}, {"jobs": 3}, {"kind": "slurm", "slurm": {"timeout_min": 1}}])
def test_a_job_that_fails_stops_no_other_and_runs_again(make_quick_jobs, executor) -> None:
    """Where there is no SLURM, submitit runs the jobs here: the same path."""
    failing, lines = [1], []
    jobs = make_quick_jobs(failing, executor=executor)
    wanted = jobs.first()[: 2 if "slurm" in executor else 4]
    failed = run_missing(jobs, wanted, lines.append)
    assert {job.fold for job in failed} == {1} and len(failed) == len(wanted) // 2
    assert [jobs.is_done(job) for job in wanted] == [job.fold == 0 for job in wanted]
    assert sum("FAILED" in line for line in lines) == len(failed)
    failing.clear()
    before = [path.stat().st_mtime_ns for path in jobs.results.glob("*/fold_0/checkpoint_final.pth")]
    assert run_missing(jobs, wanted, lines.append) == [] and all(map(jobs.is_done, wanted))
    assert before == [path.stat().st_mtime_ns for path in jobs.results.glob("*/fold_0/checkpoint_final.pth")]
    assert log_file(jobs, failed[0]).read_text().count("$ ") == 2
    assert run_missing(jobs, wanted, lines.append) == []


HOLDER = """
import sys, time
from pathlib import Path
from nnunet_mgcl.system.run_lock import run_lock
fold = Path(sys.argv[1])
with run_lock(fold / ".lock", fold, "training"):
    print("held", flush=True)
    sys.stdin.readline()
    (fold / "validation").mkdir(parents=True)
    (fold / "validation/summary.json").write_text("{}")
    (fold / "checkpoint_final.pth").touch()
"""


@pytest.mark.parametrize("executor", [{"jobs": 1}, {"kind": "slurm", "slurm": {"timeout_min": 1}}])
def test_a_training_that_a_killed_study_left_at_work_is_waited_for(make_quick_jobs, executor) -> None:
    jobs = make_quick_jobs([0, 1], executor=executor)  # a second training of the fold would fail
    job, failed = jobs.first()[0], [None]
    left = subprocess.Popen([sys.executable, "-c", HOLDER, str(jobs.fold(job).root)], stdin=PIPE, stdout=PIPE)
    assert left.stdout.readline() == b"held\n"
    study = Thread(target=lambda: failed.__setitem__(0, run_missing(jobs, [job], print)))
    study.start()
    study.join(3)
    assert study.is_alive()
    left.communicate(b"\n", timeout=30)
    study.join(60)
    assert failed == [[]] and not log_file(jobs, job).exists()


@pytest.mark.parametrize(("device", "told", "threads"), [("cpu", None, "3"), ("cpu", "5", "5"), ("cuda", None, "None")])
def test_jobs_at_once_share_the_cores(make_quick_jobs, monkeypatch, device, told, threads) -> None:
    """nnU-Net would take a thread a core in each of them."""
    monkeypatch.setattr("nnunet_mgcl.study.running.own_cores", lambda: 7)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    jobs = make_quick_jobs(device=device, executor={"jobs": 2})
    assert run_missing(jobs, jobs.first()[:2], print) == []
    assert {log_file(jobs, job).read_text().split("threads ")[1].split()[0] for job in jobs.first()[:2]} == {threads}


def test_each_job_sees_one_gpu(make_quick_jobs) -> None:
    jobs = make_quick_jobs(device="cuda", executor={"gpus": ["2", "5"]})
    assert run_missing(jobs, jobs.first()[:6], print) == []
    seen = {log_file(jobs, job).read_text().split("seen ")[1].strip() for job in jobs.first()[:6]}
    assert seen == {"2", "5"}
