"""Runs one function on many jobs, in processes of their own where more than one is wanted."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from types import FrameType
from typing import Any, TypeVar

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.numbers import integer

_ENDED = 128 + signal.SIGTERM
"""Exit status after SIGTERM, as shells have it."""

Job = TypeVar("Job")
Result = TypeVar("Result")


def default_processes() -> int:
    """What nnU-Net's commands would take (`nnUNet_def_n_proc`, else 8), but no more than there are cores.

    A variable that is no number from 1 counts as not set: even `--help` asks for the default.
    """
    wished = os.environ.get("nnUNet_def_n_proc", "").strip()
    try:
        number = integer(wished)
    except ValueError:
        number = 0
    return min(number if number > 0 else 8, os.cpu_count() or 1)


def require_processes(number: int | None) -> None:
    """Checks `-np`; None where it was left out.

    Raises:
        UserError: It is no number of processes.
    """
    if number is not None and number < 1:
        raise UserError("-np", str(number), "at least 1", "choose another number")


def require_part(number: int, total: int) -> None:
    """Checks `-part_id` and `-num_parts`.

    Raises:
        UserError: There is no such part.
    """
    if total < 1:
        raise UserError("-num_parts", str(total), "1 or more", "change it")
    if not 0 <= number < total:
        expected = f"0 to {total - 1}: the parts are counted from 0"
        raise UserError("-part_id", str(number), expected, "change it")


_REMEDY = "choose fewer processes (-np), close other programs, and run it again"


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """Yields the results as they come, in any order; arguments as of `run_each`.

    Raises:
        UserError: A process was killed; also what `function` raises.
    """
    for _, future in run_each(function, jobs, processes):
        yield future.result()


def run_each(
    function: Callable[[Job], Result], jobs: Sequence[Job], processes: int, remedy: str = _REMEDY
) -> Generator[tuple[Job, Future[Result]], None, None]:
    """Yields each job with what came of it, a result or an error, in any order.

    Args:
        function: A function of a module, since it travels to the processes.
        jobs: What it is called with.
        processes: 1 runs all in this process.
        remedy: What the user can do where one of them was killed.

    Raises:
        UserError: A process was killed.
    """
    if processes <= 1 or len(jobs) < 2:
        yield from ((job, run_here(function, job)) for job in jobs)
        return
    with submitted(function, jobs, processes) as futures:
        for future in as_completed(futures):
            if isinstance(future.exception(), BrokenProcessPool):
                found = "a process was killed, perhaps for lack of memory"
                raise UserError("-np", found, "enough memory", remedy) from None
            yield futures[future], future


def run_here(function: Callable[[Job], Result], job: Job) -> Future[Result]:
    """The same in this process: what came of one job."""
    future: Future[Result] = Future()
    try:
        future.set_result(function(job))
    except Exception as error:
        future.set_exception(error)
    return future


@contextmanager
def submitted(
    function: Callable[[Job], Result], jobs: Sequence[Job], processes: int
) -> Iterator[dict[Future[Result], Job]]:
    """Yields what is under way, with its job; at the end of the block what has not begun is given up.

    Args:
        function: A function of a module, since it travels to the processes.
        jobs: What it is called with.
        processes: How many at the most.
    """
    pool = ProcessPoolExecutor(min(processes, len(jobs)), get_context("spawn"), start_worker)
    try:
        with _handling(signal.SIGINT, signal.SIG_IGN):  # from the first, not only once `start_worker` runs in them
            futures = {pool.submit(function, job): job for job in jobs}
        yield futures
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _handling(number: signal.Signals, action: Any) -> Iterator[None]:
    """Within it a signal does something else: in the main thread, which alone may say what."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, action)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Where the program is told to end (SIGTERM), its processes end with it: nnU-Net's own would live on."""
    with _handling(signal.SIGTERM, _end):
        try:
            yield
        except SystemExit as end:
            if end.code == _ENDED:
                for process in active_children():
                    process.terminate()
            raise


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # told twice, it ends at once
    raise SystemExit(_ENDED)


def _release_sigterm_in_child() -> None:
    """`_end` is the parent's: a pool that ends its forked processes waits for ever for one that lives on."""
    if signal.getsignal(signal.SIGTERM) is _end:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


if hasattr(os, "register_at_fork"):  # where processes can be forked
    # A fork forgets what Python's handler was called for; what is held arrives.
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM]),
        after_in_child=_release_sigterm_in_child,
    )


def start_worker() -> None:
    """Prepares a process for work, as the initialiser of a pool."""
    import SimpleITK as sitk

    # One thread a process: no more threads than cores, and sums in one order, so the same result every time.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A worker whose parent was killed would go on writing beside the next run."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
