"""Where the folders `trainers` and `plans` are: at the root of a checkout, inside the package in a wheel."""

from __future__ import annotations

import os
from pathlib import Path

from nnunet_mgcl.system.errors import UserError

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
TRAINERS = "nnUNet_extTrainer"
"""nnU-Net's variable that lists the folders of further trainers."""
_PACKAGE = Path(__file__).resolve().parents[1]


def trainers_dir() -> Path:
    """The folder that nnUNet_extTrainer has to name.

    Raises:
        UserError: The installation lacks it.
    """
    return _find("trainers", "mgcl_trainers.py")


def plans_dir() -> Path:
    """The folder of the plan presets.

    Raises:
        UserError: The installation lacks it.
    """
    return _find("plans", "*.json")


def offer_trainers() -> None:
    """Makes nnU-Net find the trainers in this process.

    Raises:
        UserError: The installation lacks them.
    """
    os.environ[TRAINERS] = extended(os.environ.get(TRAINERS, ""), trainers_dir())


def extended(value: str, folder: Path) -> str:
    """A path list with the folder at its end, unless the list has it already."""
    entries = [entry for entry in value.split(os.pathsep) if entry.strip()]
    if folder.resolve() not in [Path(entry).resolve() for entry in entries]:
        entries.append(str(folder))
    return os.pathsep.join(entries)


def _find(name: str, content: str, package: Path = _PACKAGE) -> Path:
    for folder in (package / f"_{name}", package.parent / name):
        if any(folder.glob(content)):  # because any folder may have a neighbour called "plans"
            return folder
    expected = f"_{name} inside the package (pip install) or {name} beside it (checkout)"
    raise UserError(package, f"no folder {name} with {content}", expected, "install nnunet_mgcl again")
