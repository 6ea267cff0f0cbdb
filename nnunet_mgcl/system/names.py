"""Names that a user gives to a command and that become parts of a path: of datasets, plans, trainers, folds."""

from __future__ import annotations

import re

from nnunet_mgcl.system.errors import UserError

LONGEST = 200
"""Bytes of a name: file systems take 255, an ending included."""


def is_name(text: str) -> bool:
    """Whether it names a file or folder inside another one, so no path and nothing that cannot be shown."""
    short = 0 < len(text.encode(errors="replace")) <= LONGEST
    return short and text.isprintable() and text not in (".", "..") and not set(text) & set("/\\")


def check_names(names: dict[str, str]) -> None:
    """Refuses what would lead elsewhere.

    Args:
        names: What the user gave, by the option; empty where it was left out.

    Raises:
        UserError: One is no name.
    """
    for option, name in names.items():
        if name and not is_name(name):
            expected = f"a name without a path, up to {LONGEST} bytes long"
            raise UserError(option, repr(name), expected, "give the name alone")


def fold_number(text: str, expected: str = "numbers such as 0 1 2 3 4") -> int:
    """The number of a fold that a user names with -f.

    Raises:
        UserError: It is none, but something else than `expected`; also for `all`.
    """
    if not re.fullmatch("[0-9]{1,9}", text):
        found = "no fold of the cross-validation: it trains on its cases" if text == "all" else "no fold"
        raise UserError(f"-f {text}", found, expected, "choose folds")
    return int(text)


def check_new_plans_name(name: str) -> None:
    """Refuses what a new plans file may not be called: nnU-Net joins names by `__` and has files of its own.

    Raises:
        UserError: It is such a name.
    """
    reserved = name in ("dataset", "dataset_fingerprint", "splits_final")
    if reserved or "__" in name or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", name):
        expected = "up to 100 ASCII letters, digits, _, - and ., no __, and none of nnU-Net's own files"
        raise UserError("--plans-name", repr(name), expected, "choose another, such as -o MyPlans")


def check_branch_name(name: str, where: str) -> None:
    """Refuses what no folder can be called.

    Raises:
        UserError: `where` it is so.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
        raise UserError(where, repr(name), "letters, digits, _ and - (it names a folder)", "rename the modality")
