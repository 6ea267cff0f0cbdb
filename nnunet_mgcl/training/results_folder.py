"""The folder of a fold before its training starts: writable, of one plan, and without an earlier run in the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from time import strftime
from typing import TYPE_CHECKING, Any

from nnunetv2.paths import nnUNet_results
from nnunetv2.utilities.file_path_utilities import get_output_folder
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.plan.dataset_json import read_dataset_json
from nnunet_mgcl.plan.older import filled
from nnunet_mgcl.plan.plans import comparable
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.differences import differences
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, require_writable, write_json

if TYPE_CHECKING:
    from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


def earlier_block(trainer: str, plans: dict[str, Any], configuration: str) -> dict[str, Any] | None:
    """The resolved `mgcl` block of the folds that were trained before, completed; None where there are none."""
    if not nnUNet_results.is_set():
        return None
    fold = get_output_folder(plans["dataset_name"], trainer, plans["plans_name"], configuration, 0)
    shared = _unless_half(Path(fold).parent / "plans.json", read_plans)
    block = shared.get("configurations", {}).get(configuration, {}).get("mgcl")
    return filled(block) if isinstance(block, dict) else None


def require_results_folder(trainer: str, plans: dict[str, Any], configuration: str, fold: int | str) -> None:
    """Makes the fold's folder, as nnU-Net will name it, and tries to write to it.

    Raises:
        UserError: nnUNet_results is not set, or the folder cannot be written to.
    """
    if not nnUNet_results.is_set():
        raise UserError("nnUNet_results", "not set", "a folder", "export nnUNet_results=<folder>")
    require_writable(Path(get_output_folder(plans["dataset_name"], trainer, plans["plans_name"], configuration, fold)))


def refuse_other_plans(trainer: MGCLTrainer) -> None:
    """All folds of a results folder share plans.json and dataset.json, so another plan may not move in.

    A fold is predicted with what is written there, intensities and labels included.

    Raises:
        UserError: Folds were trained with another plan or other labels.
    """
    base = Path(trainer.output_folder_base)
    shared = _unless_half(base / "plans.json", read_plans, trainer.log)
    dataset_json = _unless_half(base / "dataset.json", read_dataset_json, trainer.log)
    if shared:
        earlier = PlansManager(shared).get_configuration(trainer.configuration_name).configuration
        before = general_plan(shared) | comparable(earlier)
        now = general_plan(trainer.plans_manager.plans) | comparable(trainer.configuration_manager.configuration)
        if differing := differences(before, json.loads(json.dumps(now))):
            raise UserError(
                base / "plans.json",
                f"folds trained with another configuration ({differing})",
                "the plan that is trained now",
                f"give the plan another name (mgcl plan --plans-name), or move {base} away",
            )
    if dataset_json and (differing := differences(labels_of(dataset_json), labels_of(trainer.dataset_json))):
        raise UserError(
            base / "dataset.json",
            f"folds trained with other labels ({differing})",
            "the labels that are trained now",
            f"move {base} away and train all folds again, or restore the labels",
        )


def general_plan(plans: dict[str, Any]) -> dict[str, Any]:
    """What the configurations of a plan share: reader, axis order, intensities."""
    return {key: value for key, value in plans.items() if key not in ("configurations", KEY)}


def labels_of(dataset_json: dict[str, Any]) -> dict[str, Any]:
    """What `dataset.json` says about the outputs of a network; its channels are in the plan."""
    return {key: dataset_json[key] for key in ("labels", "regions_class_order") if key in dataset_json}


def _unless_half(
    path: Path, read: Callable[[Path], dict[str, Any]], log: Callable[[str], Any] | None = None
) -> dict[str, Any]:
    """A file's content; nothing where there is none, or nnU-Net was killed while it wrote it."""
    if not is_there(path):
        return {}
    try:
        json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError):
        if log:
            log(f"{path} is half a file (a killed run's); it is written anew")
        return {}
    except (ValueError, RecursionError):
        pass  # whole, and nothing that was ever written here: for `read` to refuse
    return read(path)


def write_shared_plans(trainer: MGCLTrainer) -> None:
    """Writes plans.json and dataset.json before the first phase; nnU-Net does hours later, and not atomically.

    A calibration in plans.json goes: it was fitted on predictions that this training may replace.
    """
    base = Path(trainer.output_folder_base)
    path = base / "plans.json"
    if is_there(path) and KEY.encode() in path.read_bytes():
        trainer.log("the TSS calibration in plans.json is removed; run mgcl evaluate once the folds are trained")
    write_json(path, trainer.plans_manager.plans)
    write_json(base / "dataset.json", trainer.dataset_json)


def set_old_run_aside(trainer: MGCLTrainer) -> None:
    """Without --c, what an earlier run left is kept but never mixed in: with --c nnU-Net takes any checkpoint."""
    if trainer.continue_training or trainer.checkpoint_loaded:
        return
    root, phases = trainer.fold_layout.root, trainer.fold_layout.phases
    # Phases last: killed in between, what is left is still an earlier run that --c can go on with.
    # The validation goes with them: where the split has changed, nnU-Net would count old cases into the new summary.
    folders = [folder for folder in (trainer.fold_layout.validation, phases) if folder.exists()]
    old = [*sorted(root.glob("checkpoint_*.pth")), *folders]
    if not old:
        return
    aside = root / f"before_{strftime('%Y%m%d_%H%M%S')}"
    aside.mkdir()
    for path in old:
        path.rename(aside / path.name)
    trainer.log(f"training starts anew (no --c); moved the earlier phases, checkpoints and validation to {aside}")
