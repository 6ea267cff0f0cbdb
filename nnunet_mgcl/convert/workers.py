"""Converts many cases in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import SimpleITK as sitk

from nnunet_mgcl.convert.case import Job, convert_case
from nnunet_mgcl.convert.record import CaseRecord
from nnunet_mgcl.errors import UserError

Result = tuple[str, CaseRecord | UserError]


def convert_cases(jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """Yields each case's name and what came of it, as they are done.

    A worker that is killed, as the system does when the memory is full, takes its pool with it: the cases that were
    not done are then done one at a time, which tells the case it dies of from the others.
    """
    waiting = list(jobs)
    while waiting:
        left = []
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start) as pool:
            futures = {pool.submit(convert_case, job): job for job in waiting}
            try:
                for future in as_completed(futures):
                    try:
                        yield futures[future].row.case, future.result()
                    except BrokenProcessPool:
                        left.append(futures[future])
            finally:
                pool.shutdown(cancel_futures=True)  # before its `with` would wait for all of them
        waiting = [job for job in waiting if job in left]
        if waiting and processes == 1:
            culprit = waiting.pop(0)
            yield culprit.row.case, _killed(culprit)
        processes = 1


def _killed(job: Job) -> UserError:
    found = "its process was killed: perhaps the memory was full"
    return UserError(f"case {job.row.case}", found, "memory for it", "free some, or use a larger machine")


def _start() -> None:
    """Prepares a worker process."""
    # One thread a process: no more threads than cores, and sums in one order, so the same result every time.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A worker whose parent was killed would go on writing beside the next run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
