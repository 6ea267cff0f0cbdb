"""What a new dataset may be called, so that nnU-Net finds it."""

from __future__ import annotations

import re
from pathlib import Path

from nnunet_mgcl.errors import UserError


def dataset_folder(number: int, name: str) -> str:
    """`DatasetXXX_Name`."""
    return f"Dataset{number:03d}_{name}"


def check_number_and_name(number: int, name: str) -> None:
    """Refuses what nnU-Net or a file system could not take.

    Raises:
        UserError: `--id` is out of range, or `--name` has other characters.
    """
    if not 1 <= number <= 999:
        raise UserError("--id", str(number), "1 to 999", "choose another number")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
        raise UserError("--name", repr(name), "up to 100 ASCII letters, digits, _ and -", "choose another name")


def check_number_is_free(target: Path) -> None:
    """Refuses a number that another dataset beside `target` has.

    Raises:
        UserError: There is one.
    """
    number = target.name.split("_")[0]
    others = [path.name for path in target.parent.glob(f"{number}_*") if path != target]
    if others:
        remedy = "choose another --id: nnU-Net finds datasets by their number"
        raise UserError(target.parent, f"{others[0]} has the same number", f"no other {number}_*", remedy)
