"""What a row of the corpus is, how it is met, and what must hold for each.

A row spoils a copy of a small good tree (`tree`, the working folder) and runs one command in it. Whatever the input:
the command succeeds with the right value, or ends with exit status 1 and one message that names a file or a key. It
raises nothing else, ends within a minute, and changes no file but its own outputs.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import io
import os
import re
import resource
import shlex
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.run import run_training

from nnunet_mgcl.cli import main
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

TRAIN = "nnUNetv2_train 901 2d 0"

SECONDS = 60
Spoil = Callable[[Path], object]
Check = Callable[[Path, str], object]


@dataclass(frozen=True)
class Row:
    """One input.

    Attributes:
        name: What is odd about it.
        spoil: What it makes of the good tree.
        words: What follows `mgcl` on the command line, or `nnUNetv2_train` and what follows it.
        says: Parts of what is printed, or of the message.
        check: Asserts the right values, of the tree and of what was printed; None: the command must refuse.
        refusal: Parts of the message where a refusal is as right as the right value; None: it is not.
        quick: Whether `make test` runs it too.
        encoding: The terminal's.
        file_size: The largest file that can be written, in bytes.
    """

    name: str
    spoil: Spoil
    words: str
    says: tuple[str, ...] = ()
    check: Check | None = None
    refusal: tuple[str, ...] | None = None
    quick: bool = False
    encoding: str = "utf-8"
    file_size: int | None = None


def refused(name: str, spoil: Spoil, words: str, *says: str, **options: Any) -> Row:
    """The command must refuse and say this."""
    return Row(name, spoil, words, says, **options)


def works(name: str, spoil: Spoil, words: str, check: Check, *says: str, **options: Any) -> Row:
    """The command must succeed, with these values."""
    return Row(name, spoil, words, says, check, **options)


def either(name: str, spoil: Spoil, words: str, check: Check, *refusal: str, **options: Any) -> Row:
    """The command must do one of the two; which one is nobody's promise."""
    return Row(name, spoil, words, (), check, refusal, **options)


def meet(row: Row, tree: Path, outputs: tuple[str, ...]) -> None:
    """Runs the command in `tree` and asserts what must hold.

    Args:
        row: The row; it has spoilt the tree already.
        tree: The working folder.
        outputs: Patterns of the paths that the command may write, relative to it.
    """
    before = listing(tree)
    status, printed = _run(row, tree)
    assert "Traceback (most recent call last)" not in printed, printed
    changed = {path for path, state in (before.items() ^ listing(tree).items())}
    strange = sorted(path for path in changed if not any(fnmatch.fnmatch(path, pattern) for pattern in outputs))
    assert not strange, f"changed: {strange}"
    left = [path for path in changed if ".part." in path and (tree / path).exists()]
    assert not left, f"left behind: {left}"
    if status == 0:
        assert row.check, f"accepted:\n{printed}"
        row.check(tree, printed)
        says = row.says
    else:
        assert status == 1, f"exit status {status}:\n{printed}"
        assert row.check is None or row.refusal is not None, f"refused:\n{printed}"
        parts = [len(re.findall(rf"\n  {part}: +\S", printed)) for part in ("found", "expected", "remedy")]
        cases = printed.count("\nNot converted: ") or 1
        assert parts == [cases] * 3 or "\nHeld back: " in printed, f"{parts} parts:\n{printed}"
        says = row.refusal or row.says
    for part in says:
        assert part in printed, f"{part!r} is not in:\n{printed}"


def train(configuration: str, fold: str) -> None:
    """As `nnUNetv2_train 901 CONFIGURATION FOLD -tr MGCLTrainer`, up to the first phase."""

    def begun(*_: Any) -> None:
        raise SystemExit(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nnunet_mgcl.training.mgcl_trainer.pretrain", begun)
        patch.setattr(run_training, "recursive_find_trainer_class_by_name", lambda _: MGCLTrainer)  # 0.2 s each
        run_training.run_training("901", configuration, fold, device=torch.device("cpu"))


def began(tree: Path, printed: str) -> None:
    assert "branches: DWI (channels [0])" in printed


def listing(tree: Path) -> dict[str, str]:
    """Every path below a folder, with its kind and a hash of its content or the target of the link."""
    found = {}
    for path in tree.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            state = f"link to {os.readlink(path)}"
        elif stat.S_ISREG(mode):
            state = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISDIR(mode):
            continue  # that one was made is no change of a file
        else:
            state = oct(stat.S_IFMT(mode))
        found[str(path.relative_to(tree))] = state
    return found


def _run(row: Row, tree: Path) -> tuple[int, str]:
    """Exit status and all that was printed, as Python would print a `SystemExit`."""
    raw = io.BytesIO()
    out, err = (_terminal(raw, row.encoding, errors) for errors in ("strict", "backslashreplace"))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _limits(row.file_size, tree):
        try:
            words = shlex.split(row.words)
            status: Any = train(*words[2:]) if words[0] == "nnUNetv2_train" else main(words)
        except SystemExit as error:
            status = error.code
    printed = raw.getvalue().decode(row.encoding)
    return (1, f"{printed}{status}") if isinstance(status, str) else (int(status or 0), printed)


def _terminal(raw: io.BytesIO, encoding: str, errors: str) -> io.TextIOWrapper:
    """As Python opens stdout ("strict") and stderr ("backslashreplace")."""
    return io.TextIOWrapper(raw, encoding=encoding, errors=errors, write_through=True)


class Hang(BaseException):
    """Nothing catches it on the way."""


@contextlib.contextmanager
def _limits(file_size: int | None, tree: Path) -> Iterator[None]:
    """Ends what takes longer than a minute; no file grows beyond a size meanwhile."""

    def end(*_: object) -> None:
        raise Hang(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, end), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sizes = resource.getrlimit(resource.RLIMIT_FSIZE)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, sizes[1]))
    signal.alarm(SECONDS)
    try:
        with _opening_pipes([str(path) for path in tree.rglob("*") if path.is_fifo()]):
            yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_FSIZE, sizes)
        for number, handler in zip((signal.SIGALRM, signal.SIGXFSZ), before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _opening_pipes(pipes: list[str]) -> Iterator[None]:
    """Lets go who waits for a pipe's other end too long: in C no signal's handler is called."""
    script = 'sleep "$0"; while :; do for pipe; do : <>"$pipe"; done; sleep 0.1; done'
    words = ["sh", "-c", script, str(SECONDS + 1), *pipes]
    opener = subprocess.Popen(words, start_new_session=True) if pipes else None
    try:
        yield
    finally:
        if opener:
            os.killpg(opener.pid, signal.SIGKILL)
            opener.wait()
