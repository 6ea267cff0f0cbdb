"""Converts many cases in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool

from nnunet_mgcl.convert.case import Job, convert_case
from nnunet_mgcl.convert.output.record import CaseRecord
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.workers import submitted

Result = tuple[str, CaseRecord | UserError]


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
                try:
                    yield futures[future].row.case, future.result()
                except BrokenProcessPool:
                    left.append(futures[future])
        waiting = [job for job in waiting if job in left]
        if waiting and processes == 1:
            culprit = waiting.pop(0)
            yield culprit.row.case, _killed(culprit)
        processes = 1


def _killed(job: Job) -> UserError:
    found = "its process was killed: perhaps the memory was full"
    return UserError(f"case {job.row.case}", found, "memory for it", "free some, or use a larger machine")
