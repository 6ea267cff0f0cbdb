from __future__ import annotations

import os
import sys

import pytest

from nnunet_mgcl.study.jobs import Jobs
from nnunet_mgcl.study.running import log_file, run_missing

SCRIPT = """
import os, sys
from pathlib import Path
fold, fails = Path(sys.argv[1]), sys.argv[2] == "fails"
print("seen", os.environ.get("CUDA_VISIBLE_DEVICES"))
if fails:
    sys.exit(3)
(fold / "validation").mkdir(parents=True)
(fold / "validation/summary.json").write_text("{}")
(fold / "checkpoint_final.pth").touch()
"""


@pytest.fixture
def commands(monkeypatch):
    """In the place of a training: leaves its files at once; fails where a fold's number is among `failing`."""
    failing: list[int] = []

    def command(jobs, job):
        return [os.path.basename(sys.executable), "-c", SCRIPT, str(jobs.fold(job).root),
                "fails" if job.fold in failing else "works"]  # fmt: skip

    monkeypatch.setattr(Jobs, "command", command)
    return failing


@pytest.mark.parametrize("executor", [{"jobs": 1}, {"jobs": 3}, {"kind": "slurm", "slurm": {"timeout_min": 1}}])
def test_a_job_that_fails_stops_no_other_and_runs_again(make_jobs, commands, executor) -> None:
    """Where there is no SLURM, submitit runs the jobs here: the same path."""
    jobs = make_jobs(executor=executor)
    wanted, lines = jobs.first()[: 2 if "slurm" in executor else 4], []
    commands.append(1)
    failed = run_missing(jobs, wanted, lines.append)
    assert {job.fold for job in failed} == {1} and len(failed) == len(wanted) // 2
    assert [jobs.is_done(job) for job in wanted] == [job.fold == 0 for job in wanted]
    assert sum("FAILED" in line for line in lines) == len(failed)
    commands.clear()
    before = [path.stat().st_mtime_ns for path in jobs.results.glob("*/fold_0/checkpoint_final.pth")]
    assert run_missing(jobs, wanted, lines.append) == [] and all(map(jobs.is_done, wanted))
    assert before == [path.stat().st_mtime_ns for path in jobs.results.glob("*/fold_0/checkpoint_final.pth")]
    assert log_file(jobs, failed[0]).read_text().count("$ ") == 2
    assert run_missing(jobs, wanted, lines.append) == []


def test_each_job_sees_one_gpu(make_jobs, commands, monkeypatch) -> None:
    jobs = make_jobs(device="cuda", executor={"gpus": ["2", "5"]})
    assert run_missing(jobs, jobs.first()[:6], print) == []
    seen = {log_file(jobs, job).read_text().split("seen ")[1].strip() for job in jobs.first()[:6]}
    assert seen == {"2", "5"}
