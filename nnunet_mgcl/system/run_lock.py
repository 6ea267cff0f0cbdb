"""Keeps two runs of one command from writing to the same place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import make_folder


@contextmanager
def run_lock(file: Path, where: Path, command: str) -> Iterator[None]:
    """Holds a lock; the system frees it when the process dies.

    Args:
        file: The lock's file; its folder is made.
        where: What is locked, for the message.
        command: Who locks it, for the message.

    Raises:
        UserError: Another run holds it, or its folder cannot be made.
    """
    make_folder(file.parent)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(where, f"another {command} is at work on it", "one at a time", "wait for it") from None
    try:
        yield
    finally:
        lock.release()
