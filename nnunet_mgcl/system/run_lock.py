"""Keeps two runs from writing to the same place."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import make_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def run_lock(file: Path, where: Path, command: str, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Holds a lock; the system frees it when the process dies.

    The lock is one of `lockf`: a lock of `flock` would be inherited by nnU-Net's forked augmentation workers, which
    outlive a killed training and would keep `--c` out. Without `lockf` (Windows, some network drives) nothing is kept.

    Args:
        file: The lock's file; its folder is made.
        where: What is locked, for the message.
        command: Who locks it, for the message.
        wait: Takes a line for the user; the other run is then waited for, and a folder that cannot be written to needs
            no lock: nobody writes there. None: both end this run.

    Raises:
        UserError: Another run holds it and is not waited for, or its folder cannot be made.
    """
    make_folder(file.parent)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if wait is None:
            raise UserError(where, f"another {command} is at work on it", "one at a time", "wait for it") from None
        wait(f"Waiting for another {command} that is at work on {where}")
        lock.acquire()
    except OSError as error:
        if wait is None or error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        wait(f"{where} cannot be written to: used as it is")
    try:
        yield


def _lock(stream: IO[str], how: int) -> bool:
    """False where another process has the lock."""
    try:
        fcntl.lockf(stream, how)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # the drive knows no locks
        pass
    return True
