"""What a new dataset may be called, so that nnU-Net finds it."""

from __future__ import annotations

import re
from pathlib import Path

from nnunet_mgcl.system.errors import UserError, some


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


def find_name(parent: Path, number: int) -> str:
    """The name of the dataset of a number.

    Raises:
        UserError: There is none, or there are several.
    """
    names = sorted(path.name for path in parent.glob(dataset_folder(number, "*")) if path.is_dir())
    if len(names) != 1:
        found = f"{len(names)} datasets {dataset_folder(number, '*')}" + (f": {some(names)}" if names else "")
        raise UserError(parent, found, "one", "check -o and --id, or give the --name")
    return names[0].partition("_")[2]


def check_number_is_free(target: Path) -> None:
    """Refuses a number that another dataset beside `target` has.

    Raises:
        UserError: There is one.
    """
    number = target.name.split("_")[0]
    others = [path.name for path in target.parent.glob(f"{number}_*") if path != target]
    if others:
        remedy = "choose another --id: nnU-Net finds datasets by their number"
        if not (target.parent / others[0] / "dataset.json").exists():
            remedy += f"; or finish that one, or remove the folder {target.parent / others[0]}: it has no dataset.json"
        raise UserError(target.parent, f"{others[0]} has the same number", f"no other {number}_*", remedy)
