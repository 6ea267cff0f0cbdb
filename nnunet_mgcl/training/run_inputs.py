"""What a fold was begun with: `phases/inputs.json`. A run goes on (--c) with the same inputs only."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_mgcl.data.pool.manifest import Manifest
from nnunet_mgcl.plan.plans import comparable
from nnunet_mgcl.system.differences import differences
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, read_json, write_json
from nnunet_mgcl.system.safe_loading import load_case
from nnunet_mgcl.training.results_folder import general_plan, labels_of

if TYPE_CHECKING:
    from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

BEFORE_SEGMENT = ("unlabelled pool", "pretrained weights")
"""Inputs that only the start and the phases before `segment` read: later they may change."""

_RESTORE = "restore them, or train without --c (what the fold has so far is moved aside)"
_REMEDIES = {
    "pretrained weights": "a run that stopped before its first checkpoint starts again, with the same "
    "-pretrained_weights as before (or none) and without --c"
}


def check_run_inputs(trainer: MGCLTrainer, pretrained: bool) -> None:
    """Notes the inputs where the fold begins, and compares them where it goes on.

    Args:
        trainer: The initialised trainer of a prepared dataset.
        pretrained: Whether it starts with -pretrained_weights.

    Raises:
        UserError: The fold was begun with other inputs; names what differs.
    """
    path = trainer.fold_layout.inputs
    inputs = json.loads(json.dumps(_inputs(trainer, pretrained)))
    if not is_there(path):
        if trainer.local_rank == 0:
            write_json(path, inputs)
        return
    earlier = read_json(path)
    for name, value in inputs.items():
        if name not in earlier:  # noted by a version that did not know it
            continue
        still_read = name == "unlabelled pool" and trainer.pool_in_segment
        if trainer.checkpoint_loaded and name in BEFORE_SEGMENT and not still_read:
            continue
        before = comparable(earlier[name]) if name == "plan" else earlier[name]
        if differing := differences(before, value):
            found = f"a fold begun with other inputs ({name}: {differing})"
            raise UserError(path, found, "the inputs of this run", _REMEDIES.get(name, _RESTORE))


def _inputs(trainer: MGCLTrainer, pretrained: bool) -> dict[str, Any]:
    train_cases, _ = trainer.do_split()
    return {
        "plan": general_plan(trainer.plans_manager.plans) | comparable(trainer.configuration_manager.configuration),
        "labels": labels_of(trainer.dataset_json),
        "training cases": {str(case): "training" for case in train_cases},
        "training images and masks": {str(case): _fingerprint(trainer, case) for case in train_cases},
        "unlabelled pool": _pool(trainer) if trainer.uses_pool else {},
        "pretrained weights": pretrained,
    }


def _fingerprint(trainer: MGCLTrainer, case: str) -> str:
    """A hash of a preprocessed case: its mask, and the middle slice of its images.

    All of the images would take minutes, and their files differ each time: blosc2 writes in any order. A slice tells
    as much, since intensities are normalised over the whole image.
    """
    images = trainer.dataset_class(trainer.preprocessed_dataset_folder, [case])
    data, mask, _, _ = load_case(images, case)
    middle = np.ascontiguousarray(data[:, data.shape[1] // 2])
    return hashlib.sha256(f"{data.shape}".encode() + middle.tobytes() + np.asarray(mask[:]).tobytes()).hexdigest()


def _pool(trainer: MGCLTrainer) -> dict[str, dict[str, list[str]]]:
    """Modality -> case -> hashes of its raw files."""
    manifest = Manifest(trainer.dataset_layout.unlabelled(trainer.configuration_manager.data_identifier))
    return {
        modality: {case: [entry["sha256"] for entry in entries] for case, entries in manifest.cases(modality).items()}
        for modality in trainer.config.modalities or {}
    }
