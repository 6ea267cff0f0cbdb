"""Runs a study's jobs: on this machine, on chosen GPUs, or on a SLURM cluster."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from shutil import which
from typing import Any

from nnunet_mgcl.study.jobs import Job, Jobs, named
from nnunet_mgcl.study.study_file import Executor
from nnunet_mgcl.system.devices import own_cores
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import make_folder
from nnunet_mgcl.system.resources import offer_trainers
from nnunet_mgcl.system.run_lock import run_lock

Outcome = tuple[Job, int]
"""A job and the exit status of its training."""


def run_missing(jobs: Jobs, wanted: Sequence[Job], log: Callable[[str], None]) -> list[Job]:
    """Runs what is not done; a job that fails does not stop the others.

    Returns:
        The jobs that failed.
    """
    missing = [job for job in wanted if not jobs.is_done(job)]
    if not missing:
        return []
    offer_trainers()
    make_folder(jobs.folder / "logs")
    executor, failed = jobs.study.executor, []
    log(f"{len(missing)} of {len(wanted)} trainings are missing; their output: {jobs.folder / 'logs'}")
    outcomes = _on_cluster(jobs, missing, executor) if executor.kind == "slurm" else _here(jobs, missing, executor, log)
    for number, (job, status) in enumerate(outcomes, start=1):
        done = status == 0 and jobs.is_done(job)
        log(f"{number}/{len(missing)} {named(job)}: " + ("done" if done else f"FAILED, see {log_file(jobs, job)}"))
        failed += [] if done else [job]
    return failed


def log_file(jobs: Jobs, job: Job) -> Path:
    """The output of a job."""
    return jobs.folder / "logs" / f"{named(job)}.txt"


def _here(jobs: Jobs, missing: Sequence[Job], executor: Executor, log: Callable[[str], None]) -> Iterator[Outcome]:
    """So many at once; with `gpus` one a GPU."""
    gpus: queue.SimpleQueue[str] = queue.SimpleQueue()
    for gpu in executor.gpus:
        gpus.put(gpu)

    threads = {"OMP_NUM_THREADS": str(max(1, own_cores() // executor.jobs))} if jobs.study.device == "cpu" else {}

    def run(job: Job) -> int:
        gpu = gpus.get() if executor.gpus else None
        own = {"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {}
        try:
            return train(jobs, job, log, threads | os.environ | own)
        finally:
            if gpu is not None:
                gpus.put(gpu)

    with ThreadPoolExecutor(len(executor.gpus) or executor.jobs) as pool:
        futures = {pool.submit(run, job): job for job in missing}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def train(jobs: Jobs, job: Job, log: Callable[[str], None], environment: Mapping[str, str] | None = None) -> int:
    """Runs a training in a process of its own, once no other is at work on its fold; returns its exit status.

    Args:
        jobs: The study's.
        job: What to train.
        log: Is told of the wait for a training that a killed study has left at work.
        environment: Its variables; None: as they are here.
    """
    root = jobs.fold(job).root
    with run_lock(root / ".lock", root, "training", wait=log):
        pass
    if jobs.is_done(job):
        return 0
    program, *arguments = jobs.command(job)
    beside = Path(sys.executable).parent / program
    found = str(beside) if beside.is_file() else which(program) or program
    with log_file(jobs, job).open("a", encoding="utf-8") as output:
        output.write(f"$ {' '.join([program, *arguments])}\n")
        output.flush()
        return subprocess.run(
            [found, *arguments], env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode


def _on_cluster(jobs: Jobs, missing: Sequence[Job], executor: Executor) -> Iterator[Outcome]:
    """Hands all jobs to SLURM and waits for them; where there is no SLURM, submitit runs them here."""
    try:
        import submitit
    except ImportError:
        raise UserError(
            "executor.kind slurm", "no submitit", "the extra `cluster`", "pip install 'nnunet_mgcl[cluster]'"
        ) from None
    cluster: Any = submitit.AutoExecutor(folder=jobs.folder / "logs" / "submitit")
    cluster.update_parameters(**executor.slurm)
    with cluster.batch():
        handed = {job: cluster.submit(train, jobs, job, print) for job in missing}
    for job, own in handed.items():
        try:
            yield job, own.result()
        except Exception as error:  # whatever ended it: the time limit, the node
            with log_file(jobs, job).open("a", encoding="utf-8") as output:
                output.write(f"{error}\n")
            yield job, 1
