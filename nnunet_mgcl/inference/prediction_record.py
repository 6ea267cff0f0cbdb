"""What a prediction was made with, noted beside it: `--continue_prediction` goes on with the same only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.inference.parts import Part
from nnunet_mgcl.system.differences import differences
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import file_sha256, read_json

NAME = "mgcl_prediction.json"
MODEL_KEY = "mgcl_model"
"""Where the plans.json beside the predictions names the model's folder: two trainers may share a plan."""

Record = dict[str, Any]
"""`model`, and SHA-256 of its `weights` and `plan`; `flags`; SHA-256 of every case's `images`."""


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
    predicted_with = {key: value for key, value in plans.items() if key not in (KEY, MODEL_KEY)}
    plan = json.dumps([predicted_with, dataset_json], sort_keys=True)
    return {
        "model": model.resolve().name,
        "weights": {path.parent.name: file_sha256(path) for path in checkpoints},
        "plan": hashlib.sha256(plan.encode()).hexdigest(),
        "flags": dict(flags),
        "images": dict(images),
    }


def require_same(folder: Path, part: Part, record: Record, plans: Mapping[str, Any]) -> dict[str, str] | None:
    """Compares a prediction that goes on with what was noted of the earlier one.

    Args:
        folder: Where it goes on.
        part: Whose share of it.
        record: Of this prediction.
        plans: The model's plans.

    Returns:
        The images of the earlier one; None where nothing was noted, as by earlier versions and nnU-Net itself.

    Raises:
        UserError: It had other weights, another plan, other flags or images.
    """
    known: dict[str, str] = {}
    for path in (paths := part.earlier(folder / NAME)):
        before = _read(path, "model", "images")
        common = before["images"].keys() & record["images"].keys()
        made_with = [each | {"model": None, "images": None} for each in (before, record)]
        images = [{"images": {case: each["images"][case] for case in common}} for each in (before, record)]
        if differing := differences(*made_with) or differences(*images):  # which follow from a flag such as `missing`
            raise other_prediction(path, f"a prediction of {before['model']} with other inputs ({differing})")
        known |= before["images"]
    if not paths and (folder / "plans.json").is_file():
        _refuse_other_plans(folder / "plans.json", plans)
        return None
    return known


def noted_images(folder: Path) -> dict[str, str]:
    """The hashes of the images of every case that is noted in a folder of predictions."""
    notes = [_read(path, "images")["images"] for path in Part().earlier(folder / NAME)]
    return {case: digest for images in notes for case, digest in images.items()}


def other_prediction(where: Path, found: str) -> UserError:
    """The refusal to go on with what another model has begun."""
    remedy = "choose another -o, or leave --continue_prediction out"
    return UserError(where, found, "a prediction with the same weights, flags and images", remedy)


def parts_agree(folder: Path, part: Part) -> bool:
    """Whether all parts were predicted with the same weights, plan and flags."""
    paths = part.all_files(folder / NAME)
    records = [_read(path) | {"images": None} for path in paths if path.is_file()]
    return len(records) == len(paths) and all(record == records[0] for record in records)


def _refuse_other_plans(path: Path, plans: Mapping[str, Any]) -> None:
    """The plans.json beside a prediction is all there is to compare where nothing was noted."""
    theirs = {key: value for key, value in _read(path).items() if key != KEY}
    if differing := differences(theirs, {key: plans.get(key) for key in theirs}):
        raise other_prediction(path, f"the plan of another model ({differing})")
    print(f"{path.parent} has no {NAME}: whether these weights, flags and images were used cannot be checked")


def _read(path: Path, *keys: str) -> Record:
    content = read_json(path)
    if not isinstance(content, dict) or not content.keys() >= set(keys):
        raise UserError(path, "not what mgcl predict writes", "its note of a prediction", "predict into another -o")
    return content
