"""Finds trainers and the methods that they name, as nnU-Net finds its trainers."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.system.resources import TRAINERS, extended, offer_trainers, trainers_dir

NOBODY = "no trainer has this name"


def register_methods() -> None:
    """Imports every file that nnU-Net would look for trainers in, so that their methods' blocks are known."""
    for folder in extended(os.environ.get(TRAINERS, ""), trainers_dir()).split(os.pathsep):
        if Path(folder).is_dir():
            recursive_find_python_class(folder, NOBODY, None, folder, cleanup_imports_from_base_folder=True)


def trainer_class(name: str) -> Any:
    """The trainer that nnU-Net finds by a name.

    Raises:
        RuntimeError: There is none.
    """
    offer_trainers()  # looking inside needs no `mgcl env`
    with redirect_stdout(io.StringIO()):  # nnU-Net tells where it looked
        return recursive_find_trainer_class_by_name(name)


def phases_of(model: Path) -> Sequence[Pretext]:
    """The phases before `segment` of the trainer of a results folder; none where it is not of this plugin."""
    return getattr(trainer_class(model.name.split("__")[0]), "pretraining", ())
