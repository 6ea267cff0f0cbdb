"""Keeps two processes from writing to the same place."""

from __future__ import annotations

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
        wait: Is told that another process holds the lock, which is then waited for. None: that is an error.

    Raises:
        UserError: Another process holds it, or its folder cannot be made.
        OSError: The file cannot be written.
    """
    make_folder(file.parent)
    with file.open("w") as stream:
        if fcntl is not None and not _lock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if wait is None:
                expected = "one at a time: two would overwrite each other's files"
                raise UserError(where, f"another {command} is at work on it", expected, "let it finish, or end it")
            wait(f"Waiting for another {command}, which is at work on {where}")
            _lock(stream, fcntl.LOCK_EX)
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
