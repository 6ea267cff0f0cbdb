"""What a prediction was made with, noted beside it: `--continue_prediction` goes on with the same only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.system.differences import differences
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import read_json

NAME = "mgcl_prediction.json"
MODEL_KEY = "mgcl_model"
"""Where the plans.json beside the predictions names the model's folder: two trainers may share a plan."""

Record = dict[str, Any]
"""`model`, and SHA-256 of its `weights` and `plan`; `flags`; SHA-256 of every case's `images`."""


def record_path(folder: Path, part_id: int, num_parts: int) -> Path:
    """Where one of several processes that share the cases notes its own."""
    return folder / (NAME if num_parts == 1 else f"mgcl_prediction_part{part_id}.json")


def prediction_record(
    model: Path,
    checkpoints: Sequence[Path],
    plans: Mapping[str, Any],
    dataset_json: Mapping[str, Any],
    flags: Mapping[str, Any],
    images: Mapping[str, str],
) -> Record:
    """Describes a prediction.

    Args:
        model: The results folder.
        checkpoints: Its folds' weights.
        plans: The model's plans. A calibration in them changes no segmentation and no raw probability.
        dataset_json: The model's.
        flags: Those that change what is predicted.
        images: A hash of each case's files.
    """
    own = {key: value for key, value in plans.items() if key not in (KEY, MODEL_KEY)}
    plan = json.dumps([own, dataset_json], sort_keys=True)
    return {
        "model": model.resolve().name,
        "weights": {path.parent.name: _digest(path) for path in checkpoints},
        "plan": hashlib.sha256(plan.encode()).hexdigest(),
        "flags": dict(flags),
        "images": dict(images),
    }


def require_same(path: Path, record: Record, plans: Mapping[str, Any]) -> dict[str, str] | None:
    """Compares a prediction that goes on with what was noted of the earlier one.

    Args:
        path: From `record_path`.
        record: Of this prediction.
        plans: The model's plans.

    Returns:
        The images of the earlier one; None where nothing was noted, as by earlier versions and nnU-Net itself.

    Raises:
        UserError: It had other weights, another plan, other flags or images.
    """
    known: dict[str, str] = {}
    for earlier in (paths := earlier_records(path)):
        before = _read(earlier, "model", "images")
        common = before["images"].keys() & record["images"].keys()
        now = record | {"model": before["model"], "images": {case: record["images"][case] for case in common}}
        if differing := differences(before | {"images": {case: before["images"][case] for case in common}}, now):
            raise other_prediction(earlier, f"a prediction of {before['model']} with other inputs ({differing})")
        known |= before["images"]
    if not paths and (beside := path.with_name("plans.json")).is_file():
        _refuse_other_plans(beside, plans)
        return None
    return known


def noted_images(folder: Path) -> dict[str, str]:
    """The hashes of the images of every case that is noted in a folder of predictions."""
    notes = [_read(path, "images") for path in earlier_records(folder / NAME)]
    return {case: own for note in notes for case, own in note["images"].items()}


def other_prediction(where: Path, found: str) -> UserError:
    """The refusal to go on with what another model has begun."""
    remedy = "choose another -o, or leave --continue_prediction out"
    return UserError(where, found, "a prediction with the same weights, flags and images", remedy)


def _refuse_other_plans(path: Path, plans: Mapping[str, Any]) -> None:
    """The plans.json beside a prediction is all there is to compare where nothing was noted."""
    theirs = {key: value for key, value in _read(path).items() if key != KEY}
    if differing := differences(theirs, {key: plans.get(key) for key in theirs}):
        raise other_prediction(path, f"the plan of another model ({differing})")
    print(f"{path.parent} has no {NAME}: whether these weights, flags and images were used cannot be checked")


def parts_agree(folder: Path, num_parts: int) -> bool:
    """Whether all parts were predicted with the same weights, plan and flags."""
    paths = [record_path(folder, part, num_parts) for part in range(num_parts)]
    records = [_read(path) | {"images": None} for path in paths if path.is_file()]
    return len(records) == num_parts and all(record == records[0] for record in records)


def earlier_records(path: Path) -> list[Path]:
    """What was noted where this prediction writes; one that is not shared does the work of all parts."""
    joined = path.with_name(NAME)
    parts = [path] if path != joined else sorted(path.parent.glob("mgcl_prediction_part*.json"))
    return [each for each in (joined, *parts) if each.is_file()]


def _read(path: Path, *keys: str) -> Record:
    content = read_json(path)
    if not isinstance(content, dict) or not content.keys() >= set(keys):
        raise UserError(path, "not what mgcl predict writes", "its note of a prediction", "predict into another -o")
    return content


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
