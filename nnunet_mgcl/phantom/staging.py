"""A folder that appears all at once, and replaces only what `mgcl phantom` itself has written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunet_mgcl.errors import UserError
from nnunet_mgcl.files import read_json


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yields a hidden folder beside `target` that takes its place when the block ends without an error."""
    staging = target.with_name(f".{target.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        yield staging
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_overwrite(target: Path, *, marker: str, overwrite: bool) -> None:
    """Refuses to touch what is not a phantom, or a phantom without `overwrite`.

    Args:
        target: The folder to write.
        marker: A JSON file in it that has the key `phantom` where `mgcl phantom` wrote it.
        overwrite: Whether the user asked for it.

    Raises:
        UserError: Something is in the way.
    """
    if not target.exists():
        return
    if not overwrite:
        raise UserError(target, "it exists", "a new folder", "choose another --id or -o, or --overwrite")
    if not (target / marker).is_file() or "phantom" not in read_json(target / marker):
        remedy = "choose another --id or -o, or remove the folder yourself if nobody needs it"
        raise UserError(target, "a folder that mgcl phantom has not written", "a phantom to overwrite", remedy)
