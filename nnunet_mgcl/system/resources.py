"""Where the folders `trainers` and `plans` are: at the root of a checkout, inside the package in a wheel."""

from __future__ import annotations

from pathlib import Path

from nnunet_mgcl.system.errors import UserError

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


def _find(name: str, content: str, package: Path = _PACKAGE) -> Path:
    for folder in (package / f"_{name}", package.parent / name):
        # The content is asked for, because any folder may have a neighbour called "plans".
        if any(folder.glob(content)):
            return folder
    raise UserError(
        package,
        f"no folder {name} with {content}",
        f"_{name} inside the package (pip install) or {name} beside it (checkout)",
        "install nnunet_mgcl again",
    )
