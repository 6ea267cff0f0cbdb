"""The folder of a fold before its training starts: writable, of one plan, and without an earlier run in the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from time import strftime
from typing import Any

from nnunetv2.paths import nnUNet_results
from nnunetv2.utilities.file_path_utilities import get_output_folder
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.plan.config import config_model
from nnunet_mgcl.plan.dataset_json import read_dataset_json
from nnunet_mgcl.plan.older import filled
from nnunet_mgcl.plan.plans import comparable
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.differences import differences
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, require_writable, write_json

Log = Callable[[str], Any]


def earlier_block(
    trainer: str, plans: dict[str, Any], configuration: str, blocks: Collection[str]
) -> dict[str, Any] | None:
    """The resolved `mgcl` block of the folds that were trained before, completed; None where there are none.

    Args:
        trainer: Name of the trainer's class.
        plans: Content of the plans file.
        configuration: Name of the configuration.
        blocks: The methods' blocks that the trainer reads.
    """
    if not nnUNet_results.is_set():
        return None
    fold = get_output_folder(plans["dataset_name"], trainer, plans["plans_name"], configuration, 0)
    shared = _unless_half(Path(fold).parent / "plans.json", read_plans)
    block = shared.get("configurations", {}).get(configuration, {}).get("mgcl")
    return filled(block, config_model(blocks)) if isinstance(block, dict) else None


def require_results_folder(trainer: str, plans: dict[str, Any], configuration: str, fold: int | str) -> None:
    """Makes the fold's folder, as nnU-Net will name it, and tries to write to it.

    Raises:
        UserError: nnUNet_results is not set, or the folder cannot be written to.
    """
    if not nnUNet_results.is_set():
        raise UserError("nnUNet_results", "not set", "a folder", "export nnUNet_results=<folder>")
    require_writable(Path(get_output_folder(plans["dataset_name"], trainer, plans["plans_name"], configuration, fold)))


def refuse_other_plans(
    base: Path, now: dict[str, Any], configuration: str, dataset_json: dict[str, Any], blocks: Collection[str], log: Log
) -> None:
    """All folds of a results folder share plans.json and dataset.json, so another plan may not move in.

    A fold is predicted with what is written there, intensities and labels included.

    Args:
        base: The results folder.
        now: From `described_plan`, of this training.
        configuration: Name of the configuration.
        dataset_json: Of this training.
        blocks: The methods' blocks that the trainer reads.
        log: Takes one line for the user.

    Raises:
        UserError: Folds were trained with another plan or other labels.
    """
    shared = _unless_half(base / "plans.json", read_plans, log)
    labels = _unless_half(base / "dataset.json", read_dataset_json, log)
    if shared:
        before = described_plan(shared, configuration, blocks)
        if differing := differences(before, json.loads(json.dumps(now))):
            found = f"folds trained with another configuration ({differing})"
            remedy = f"give the plan another name (mgcl plan --plans-name), or move {base} away"
            raise UserError(base / "plans.json", found, "the plan that is trained now", remedy)
    if labels and (differing := differences(labels_of(labels), labels_of(dataset_json))):
        found = f"folds trained with other labels ({differing})"
        remedy = f"move {base} away and train all folds again, or restore the labels"
        raise UserError(base / "dataset.json", found, "the labels that are trained now", remedy)


def described_plan(plans: dict[str, Any], configuration: str, blocks: Collection[str]) -> dict[str, Any]:
    """A configuration of a plan, and what the configurations share: reader, axis order, intensities."""
    general = {key: value for key, value in plans.items() if key not in ("configurations", KEY)}
    resolved = PlansManager(plans).get_configuration(configuration).configuration
    return general | comparable(resolved, blocks)


def labels_of(dataset_json: dict[str, Any]) -> dict[str, Any]:
    """What `dataset.json` says about the outputs of a network; its channels are in the plan."""
    return {key: dataset_json[key] for key in ("labels", "regions_class_order") if key in dataset_json}


def _unless_half(path: Path, read: Callable[[Path], dict[str, Any]], log: Log | None = None) -> dict[str, Any]:
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


def write_shared_plans(base: Path, plans: dict[str, Any], dataset_json: dict[str, Any], log: Log) -> None:
    """Writes plans.json and dataset.json before the first phase; nnU-Net does hours later, and not atomically.

    A calibration in plans.json goes: it was fitted on predictions that this training may replace.
    """
    path = base / "plans.json"
    if is_there(path) and KEY.encode() in path.read_bytes():
        log("the TSS calibration in plans.json is removed; run mgcl evaluate once the folds are trained")
    write_json(path, plans)
    write_json(base / "dataset.json", dataset_json)


def set_old_run_aside(fold: FoldLayout, log: Log) -> None:
    """Without --c, what an earlier run left is kept but never mixed in: with --c nnU-Net takes any checkpoint."""
    # Phases last: killed in between, what is left is still an earlier run that --c can go on with.
    # The validation goes with them: where the split has changed, nnU-Net would count old cases into the new summary.
    folders = [folder for folder in (fold.validation, fold.phases) if folder.exists()]
    old = [*sorted(fold.root.glob("checkpoint_*.pth")), *folders]
    if not old:
        return
    aside = fold.root / f"before_{strftime('%Y%m%d_%H%M%S')}"
    aside.mkdir()
    for path in old:
        path.rename(aside / path.name)
    log(f"training starts anew (no --c); moved the earlier phases, checkpoints and validation to {aside}")
