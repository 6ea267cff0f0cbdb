"""Atomic file writes: a killed run leaves no half file that looks whole."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from nnunet_mgcl.system.errors import UserError, reason

_ELSEWHERE = "or name another folder (-o where the command has it, or the nnUNet_* variable that leads there)"
_REMEDIES = {
    errno.ENOSPC: "free some space and run it again (training: with --c)",
    errno.EDQUOT: "free some space or raise the quota, and run it again (training: with --c)",
    errno.EFBIG: "raise the limit on the size of files and run it again (training: with --c)",
    errno.EROFS: f"mount it writable, {_ELSEWHERE}",
    errno.EACCES: f"make it writable, {_ELSEWHERE}",
    errno.EPERM: f"make it writable, {_ELSEWHERE}",
}
"""What the user can do about the errors that a write may end with through no fault of the program."""
_PATHS = {
    errno.EEXIST: "name another folder: what should be one, on the way, is a file or a link to nothing",
    errno.ENOTDIR: "name another folder: what should be one, on the way, is a file",
    errno.EISDIR: "name a file: this is a folder",
    errno.ENAMETOOLONG: "give it a shorter name",
}
"""The same for a path that cannot be one; without a path, the error may be of a file that is read."""


class WriteError(UserError):
    """There is no room or no permission to write: neither is there for the next file."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its place when the block ends without an error.

    The temporary name keeps the suffix, because several writers choose their format by it.

    Raises:
        UserError: The disk is full or the folder cannot be written to; what was at `path` is untouched.
    """
    temporary = _temporary(path)
    try:
        with explaining_writes(path):
            make_folder(path.parent)
            _remove_orphans(path)
            with explaining_failure(temporary):
                yield temporary
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())  # or a power cut could leave the name without the content
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # a read-only folder has said so already
            temporary.unlink(missing_ok=True)


@contextmanager
def explaining_failure(path: Path) -> Iterator[None]:
    """Finds the system's reason where torch or blosc2 could not write a file: they raise a RuntimeError without it.

    Raises:
        OSError: The file cannot be written to; another `RuntimeError` passes.
    """
    try:
        yield
    except RuntimeError:
        with path.open("ab") as file:  # so that the system says whether and why it cannot be written
            file.write(bytes(2**20))
            file.flush()
            os.fsync(file.fileno())
        raise


@contextmanager
def explaining_writes(path: Path | None = None, folder: Path | None = None) -> Iterator[None]:
    """Turns a full disk, a missing permission or an impossible path into one message.

    Args:
        path: What is written; None: the file that the system names.
        folder: Where it is written to: the system names no file where it opened one and then has no room for it. None:
            the message lists the folders that may be meant.

    Raises:
        WriteError: In place of such an `OSError`; other errors pass.
    """
    try:
        yield
    except OSError as error:
        remedies = _REMEDIES | (_PATHS if path else {})
        if error.errno not in remedies:
            raise
        found = f"cannot be written ({error.strerror})"
        where = path or error.filename or f"a file in {folder or _folders_in_use()}"
        raise WriteError(where, found, "room and permission to write", remedies[error.errno]) from None


def require_writable(folder: Path) -> None:
    """Makes a folder and tries to write to it.

    Raises:
        UserError: It cannot be written to.
    """
    with replacing(folder / "writable") as temporary:
        temporary.touch()
    (folder / "writable").unlink(missing_ok=True)  # another rank may have tried at the same time


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, where they are not there.

    Raises:
        UserError: A file or a link to nothing has its name, or it cannot be made.
    """
    try:
        with explaining_writes(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # as in /proc; from a block of `replacing` it would be about a file to read
        raise UserError(folder, f"cannot be made ({error.strerror})", "a folder", "name another one") from None


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that killed processes left in a folder of which only this process writes files."""
    for path in folder.rglob(".*.part.*"):
        path.unlink(missing_ok=True)


def remove_leftovers_of(path: Path) -> None:
    """Removes the temporary files that killed processes left beside a file that only this process writes."""
    for left in path.parent.glob(f".*.part.{glob.escape(path.name)}"):
        left.unlink(missing_ok=True)


def is_there(path: Path, kind: Literal["file", "folder"] = "file") -> bool:
    """Whether an optional input is there. One that cannot be read is not absent.

    Raises:
        UserError: There is a link to nothing, a pipe, a folder for a file (or the reverse), or no permission to read.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # `unreadable` says which
        pass
    if found := unreadable(path, kind):
        remedy = "restore it, or remove it where you do not need it"
        raise UserError(path, found, f"a {kind} that can be read, or none", remedy)
    return True


def unreadable(path: Path, kind: Literal["file", "folder"] = "file") -> str | None:
    """Why what is at `path` is no readable file or folder; None: it is."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            return f"a link to nothing ({path.readlink()})"
        # no such file, a circle of links, a folder that may not be entered, a drive that is gone
        return f"no readable {kind} ({error.strerror})"
    if not (stat.S_ISREG(mode) if kind == "file" else stat.S_ISDIR(mode)):
        there = "a folder" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "a pipe or a device"
        return f"no readable {kind} ({there})"
    readable = os.access(path, os.R_OK if kind == "file" else os.R_OK | os.X_OK)
    return None if readable else f"no readable {kind} ({os.strerror(errno.EACCES)})"


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically (UTF-8)."""
    with replacing(path) as temporary:
        try:
            temporary.write_text(text, encoding="utf-8")
        except FileNotFoundError as error:  # the folder is there, and takes no files, as /proc
            raise UserError(path, f"cannot be written ({error.strerror})", "a file", "name another folder") from None


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically, indented as nnU-Net does."""
    write_text(path, json.dumps(content, indent=4) + "\n")


def read_text(path: Path, expected: str) -> str:
    """Reads a text file, UTF-8 with or without a byte order mark.

    Args:
        path: The file.
        expected: What it should be, for messages.

    Raises:
        UserError: It is missing, is no file (a pipe would be waited for without end), cannot be read, or is not UTF-8.
    """
    found = unreadable(path) if os.path.lexists(path) else "no such file"
    try:
        if found is None:
            return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(path, "not UTF-8 text", expected, "save it as UTF-8, or restore it") from None
    except OSError as error:
        found = f"cannot be read ({error.strerror})"
    raise UserError(path, found, expected, "restore the file, or check the path and the nnUNet_* variables")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: The file is missing or is not JSON.
    """
    try:
        return json.loads(read_text(path, "a JSON file"))
    except RecursionError:
        raise UserError(path, "lists or objects hundreds deep", "a JSON file", "mend or regenerate the file") from None
    except ValueError as error:  # no JSON, or a number of thousands of digits
        found = f"not valid JSON ({reason(error)})"
        raise UserError(path, found, "a JSON file", "mend or regenerate the file") from None


def file_sha256(path: Path) -> str:
    """A SHA-256 of what a file holds, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{_HOST}.{os.getpid()}.part.{path.name}")


_HOST = socket.gethostname().partition(".")[0][:20]
"""Part of a temporary file's name: on another computer its process is another one."""


def _remove_orphans(path: Path) -> None:
    """Removes the temporary files of `path` whose processes on this computer were killed."""
    for left in path.parent.glob(f".{glob.escape(_HOST)}.*.part.{glob.escape(path.name)}"):
        process = left.name.removeprefix(f".{_HOST}.").partition(".")[0]
        if process.isdecimal() and not _is_running(int(process)):
            left.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's; no process has such a number
        pass
    return True


def _folders_in_use() -> str:
    named = [os.environ.get(name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "TMPDIR")]
    return ", ".join(dict.fromkeys(["the folder of the output", *filter(None, named), "/tmp"]))
