"""A folder that appears all at once, and replaces only what `mgcl phantom` itself has written."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunet_mgcl.system.errors import UserError, some
from nnunet_mgcl.system.files import read_json
from nnunet_mgcl.system.run_lock import run_lock


@contextmanager
def staged(target: Path, check: Callable[[], None]) -> Iterator[Path]:
    """Yields a hidden folder beside `target` that takes its place when the block ends without an error.

    Args:
        target: The folder to write.
        check: Raises a UserError where `target` may not be written. Asked before the block and again after it, since
            somebody may have written there meanwhile.

    Raises:
        UserError: Another run writes the same folder; also what `check` raises.
    """
    with _locked(target):
        staging, old = _hidden(target, "part"), _hidden(target, "old")
        _clear(target, staging, old)
        check()
        try:
            staging.mkdir()
            yield staging
            check()
            if target.exists():
                target.rename(old)  # a removal takes time: killed amid it, half a dataset would look whole
            staging.rename(target)
        finally:
            _clear(target, staging, old)


def _hidden(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}")


def _clear(target: Path, staging: Path, old: Path) -> None:
    """Removes what this run or a killed one has left, and puts the old folder back if no new one took its place."""
    if old.exists() and not target.exists():
        old.rename(target)
    for folder in (staging, old):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Keeps two runs from one target, and leaves no lock behind."""
    file = _hidden(target, "lock")
    with run_lock(file, target, "mgcl phantom"):
        try:
            yield
        finally:
            file.unlink(missing_ok=True)  # while it is held: the next one's must not go


def check_overwrite(target: Path, *, marker: str, own: str, overwrite: bool) -> None:
    """Refuses to touch what is not a phantom, or a phantom without `overwrite`.

    Args:
        target: The folder to write.
        marker: A JSON file in it that has the key `phantom` where `mgcl phantom` wrote it.
        own: Regular expression of the files that `mgcl phantom` writes, relative to `target`.
        overwrite: Whether the user asked for it.

    Raises:
        UserError: Something is in the way.
    """
    for folder in target.parents:
        if folder.exists() and not folder.is_dir():
            raise UserError("-o", f"{folder} is not a folder", "a folder, or a name for one", "choose another -o")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        remedy = "remove it, or choose another --id, --name or -o"
        raise UserError(target, "a link" if target.is_symlink() else "a file", "a folder or nothing", remedy)
    if not target.exists():
        return
    if not overwrite:
        raise UserError(target, "it exists", "a new folder", "choose another --id or -o, or --overwrite")
    content = read_json(target / marker) if (target / marker).is_file() else None
    if not isinstance(content, dict) or "phantom" not in content:
        remedy = "choose another --id or -o, or remove the folder yourself if nobody needs it"
        raise UserError(target, "a folder that mgcl phantom has not written", "a phantom to overwrite", remedy)
    names = (path.relative_to(target).as_posix() for path in sorted(target.rglob("*")) if not path.is_dir())
    strangers = [name for name in names if not re.fullmatch(own, name)]
    if strangers:
        found = f"files that mgcl phantom has not written: {some(strangers)}"
        raise UserError(target, found, "only its own, which --overwrite removes", "move them out of the folder")
