"""What a result depends on besides the plan: the releases that computed it."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from nnunet_mgcl import __version__
from nnunet_mgcl.system.files import is_there, write_json
from nnunet_mgcl.system.typed_json import read_typed

PACKAGES = ("nnunetv2", "torch", "numpy", "scikit-learn", "monai")


def installed_versions() -> dict[str, str]:
    """Of this package, Python and the packages that compute."""
    return {
        "nnunet_mgcl": __version__,
        "Python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def read_versions(path: Path) -> list[dict[str, str]]:
    """What `note_versions` has written; nothing where there is no file.

    Raises:
        UserError: The file is none that it wrote.
    """
    kind, remedy = list[dict[str, str]], "remove the file; it influences no result"
    return read_typed(kind, path, remedy) if is_there(path) else []


def note_versions(path: Path) -> None:
    """Adds the present versions to those that a training ran with, where they are others than the last ones."""
    noted = read_versions(path)
    if not noted or noted[-1] != installed_versions():
        write_json(path, [*noted, installed_versions()])
