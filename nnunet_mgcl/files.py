"""Atomic file writes: a killed run leaves no half file that looks whole."""

from __future__ import annotations

import csv
import errno
import glob
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nnunet_mgcl.errors import UserError, reason

_REMEDIES = {
    errno.ENOSPC: "free some space and run it again (training: with --c)",
    errno.EDQUOT: "free some space or raise the quota, and run it again (training: with --c)",
    errno.EFBIG: "raise the limit on the size of files and run it again (training: with --c)",
    errno.EROFS: "mount it writable, or name another folder (nnUNet_results, nnUNet_preprocessed)",
    errno.EACCES: "make it writable, or name another folder (nnUNet_results, nnUNet_preprocessed)",
    errno.EPERM: "make it writable, or name another folder (nnUNet_results, nnUNet_preprocessed)",
}
"""What the user can do about the errors that a write may end with through no fault of the program."""
_PATHS = {
    errno.EEXIST: "name another folder: what should be one, on the way, is a file",
    errno.ENOTDIR: "name another folder: what should be one, on the way, is a file",
    errno.EISDIR: "name a file: this is a folder",
    errno.ENAMETOOLONG: "give it a shorter name",
}
"""The same for a path that cannot be one; without a path, the error may be of a file that is read."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its place when the block ends without an error.

    The temporary name keeps the suffix, because several writers choose their format by it.

    Raises:
        UserError: The disk is full or the folder cannot be written to; what was at `path` is untouched.
    """
    temporary = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        with explaining_writes(path):
            _make(path.parent)
            try:
                yield temporary
            except RuntimeError:  # torch and blosc2 report a failed write without the system's reason
                _try_to_write(temporary)
                raise
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())  # or a power cut could leave the name without the content
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # a read-only folder has said so already
            temporary.unlink(missing_ok=True)


@contextmanager
def explaining_writes(path: Path | None = None) -> Iterator[None]:
    """Turns a full disk, a missing permission or an impossible path into one message.

    Args:
        path: What is written; None: the file that the system names.

    Raises:
        UserError: In place of such an `OSError`; other errors pass.
    """
    try:
        yield
    except OSError as error:
        remedies = _REMEDIES | (_PATHS if path else {})
        if error.errno not in remedies:
            raise
        found = f"cannot be written ({error.strerror})"
        where = path or error.filename or "a file"
        raise UserError(where, found, "room and permission to write", remedies[error.errno]) from None


def require_writable(folder: Path) -> None:
    """Makes a folder and tries to write to it.

    Raises:
        UserError: It cannot be written to.
    """
    with replacing(folder / "writable") as temporary:
        temporary.touch()
    (folder / "writable").unlink(missing_ok=True)  # another rank may have tried at the same time


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that killed processes left in a folder of which only this process writes files."""
    for path in folder.rglob(".*.part.*"):
        path.unlink(missing_ok=True)


def remove_leftovers_of(path: Path) -> None:
    """Removes the temporary files that killed processes left beside a file that only this process writes."""
    for left in path.parent.glob(f".*.part.{glob.escape(path.name)}"):
        left.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically (UTF-8)."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically, indented as nnU-Net does."""
    write_text(path, json.dumps(content, indent=4) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a table atomically, a line for the columns' names first; what a row lacks is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(path, "no such file", "a JSON file", "check the path and the nnUNet_* variables") from None
    except RecursionError:
        raise UserError(path, "lists or objects hundreds deep", "a JSON file", "mend or regenerate the file") from None
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise UserError(
            path, f"not valid JSON ({reason(error)})", "a JSON file", "mend or regenerate the file"
        ) from None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # as in /proc; from a block of `replacing` it would be about a file to read
        raise UserError(folder, f"cannot be made ({error.strerror})", "a folder", "name another one") from None


def _try_to_write(path: Path) -> None:
    """Appends to a file, so that the system says whether and why it cannot be written."""
    with path.open("ab") as file:
        file.write(bytes(2**20))
        file.flush()
        os.fsync(file.fileno())
