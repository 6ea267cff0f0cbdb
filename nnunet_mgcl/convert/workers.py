"""Converts many cases in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool

from nnunet_mgcl.convert.case import Job, convert_case
from nnunet_mgcl.convert.record import CaseRecord
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.workers import submitted

Result = tuple[str, Future[CaseRecord]]


def convert_cases(jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """Yields each case's name and what came of it, as they are done.

    A worker that is killed, as the system does when the memory is full, takes its pool with it: the cases that were
    not done are then done one at a time, which tells the case it dies of from the others.
    """
    waiting = list(jobs)
    while waiting:
        left = []
        with submitted(convert_case, waiting, processes) as futures:
            for future in as_completed(futures):
                if isinstance(future.exception(), BrokenProcessPool):
                    left.append(futures[future])
                else:
                    yield futures[future].row.case, future
        waiting = [job for job in waiting if job in left]
        if waiting and processes == 1:
            culprit = waiting.pop(0)
            yield culprit.row.case, _killed(culprit)
        processes = 1


def _killed(job: Job) -> Future[CaseRecord]:
    found, future = "its process was killed: perhaps the memory was full", Future[CaseRecord]()
    remedy = "free some, or use a larger machine"
    future.set_exception(UserError(f"case {job.row.case}", found, "memory for it", remedy))
    return future
