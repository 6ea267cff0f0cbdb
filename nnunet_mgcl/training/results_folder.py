"""The folder of a fold before its training starts: writable, of one plan, and without an earlier run in the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import strftime
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from nnunetv2.paths import nnUNet_results
from nnunetv2.utilities.file_path_utilities import get_output_folder
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.differences import differences
from nnunet_mgcl.errors import UserError
from nnunet_mgcl.files import require_writable, write_json
from nnunet_mgcl.plans import without_checkpointing

if TYPE_CHECKING:
    from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


def require_results_folder(trainer: str, plans: dict[str, Any], configuration: str, fold: int | str) -> None:
    """Makes the fold's folder, as nnU-Net will name it, and tries to write to it.

    Raises:
        UserError: nnUNet_results is not set, or the folder cannot be written to.
    """
    if not nnUNet_results.is_set():
        raise UserError("nnUNet_results", "not set", "a folder", "export nnUNet_results=<folder>")
    require_writable(Path(get_output_folder(plans["dataset_name"], trainer, plans["plans_name"], configuration, fold)))


@contextmanager
def only_run(fold: Path) -> Iterator[None]:
    """Keeps a second process out of a fold that is trained; the operating system frees it when the process dies.

    Raises:
        UserError: Another process trains the fold.
    """
    fold.mkdir(parents=True, exist_ok=True)
    lock = FileLock(fold / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            fold, "another process that trains this fold", "one at a time: two would overwrite each other's files",
            "let it finish, or end it and its worker processes",
        ) from None  # fmt: skip
    try:
        yield
    finally:
        lock.release()


def refuse_other_plans(trainer: MGCLTrainer) -> None:
    """All folds of a results folder share one plans.json, so another configuration may not move in.

    Raises:
        UserError: Folds were trained with another plan.
    """
    path = _shared_plans(trainer)
    if not path.is_file():
        return
    try:
        shared = json.loads(path.read_text())
    except json.JSONDecodeError:
        trainer.log(f"{path} is half a file (a killed run's); it is written anew")
        return
    earlier = PlansManager(shared).get_configuration(trainer.configuration_name).configuration
    now = json.loads(json.dumps(trainer.configuration_manager.configuration))
    if differing := differences(without_checkpointing(earlier), without_checkpointing(now)):
        raise UserError(
            path,
            f"folds trained with another configuration ({differing})",
            "the plan that is trained now",
            f"give the plan another name (mgcl plan --plans-name), or move {path.parent} away",
        )


def write_shared_plans(trainer: MGCLTrainer) -> None:
    """Writes plans.json before the first phase; nnU-Net does when `segment` starts, hours later and not atomically."""
    write_json(_shared_plans(trainer), trainer.plans_manager.plans)


def _shared_plans(trainer: MGCLTrainer) -> Path:
    return Path(trainer.output_folder_base) / "plans.json"


def set_old_run_aside(trainer: MGCLTrainer) -> None:
    """Without --c, what an earlier run left is kept but never mixed in: with --c nnU-Net takes any checkpoint."""
    if trainer.continue_training or trainer.checkpoint_loaded:
        return
    root, phases = trainer.fold_layout.root, trainer.fold_layout.phases
    # Phases last: killed in between, what is left is still an earlier run that --c can go on with.
    old = [*sorted(root.glob("checkpoint_*.pth")), *([phases] if phases.exists() else [])]
    if not old:
        return
    aside = root / f"before_{strftime('%Y%m%d_%H%M%S')}"
    aside.mkdir()
    for path in old:
        path.rename(aside / path.name)
    trainer.log(f"training starts anew (no --c); moved the earlier phases and checkpoints to {aside}")
