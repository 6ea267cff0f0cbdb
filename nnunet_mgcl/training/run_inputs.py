"""What a fold was begun with: `phases/inputs.json`. A run goes on (--c) with the same inputs only."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_mgcl.data.pool.manifest import Manifest, pool_digests, read_listing
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.plan.plans import comparable
from nnunet_mgcl.system.differences import differences
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, read_json, replacing, write_json
from nnunet_mgcl.system.safe_loading import load_case
from nnunet_mgcl.training.results_folder import labels_of

BEFORE_SEGMENT = ("unlabelled pool", "pretrained weights")
"""Inputs that only the start and the phases before `segment` read: later they may change."""

_RESTORE = "restore them, or train without --c (what the fold has so far is moved aside)"
_REMEDIES = {
    "pretrained weights": "a run that stopped before its first checkpoint starts again, with the same "
    "-pretrained_weights as before (or none) and without --c"
}


def check_run_inputs(
    context: FoldContext,
    plan: dict[str, Any],
    dataset_json: dict[str, Any],
    pretrained: bool,
    *,
    reads_pool: bool,
    going_on: bool,
    pool_to_the_end: bool,
) -> None:
    """Notes the inputs where the fold begins, and compares them where it goes on.

    Args:
        context: The fold's.
        plan: From `described_plan`.
        dataset_json: Content of `dataset.json`.
        pretrained: Whether it starts with -pretrained_weights.
        reads_pool: Whether anything of the training reads the pool.
        going_on: Whether `segment` goes on from a checkpoint.
        pool_to_the_end: Whether `segment` itself reads the pool.

    Raises:
        UserError: The fold was begun with other inputs; names what differs.
    """
    path = context.layout.inputs
    now = {
        "plan": plan,
        "labels": labels_of(dataset_json),
        "training cases": {str(case): "training" for case in context.train_cases},
        "training images and masks": {str(case): _fingerprint(context, case) for case in context.train_cases},
        "missing modalities": {case: [*names] for case, names in context.incomplete.missing.items()},
        "unlabelled pool": pool_digests(_pool(context), context.config.modalities or {}) if reads_pool else {},
        "pretrained weights": pretrained,
    }
    now = json.loads(json.dumps(now))
    if not is_there(path):
        _note(context, now)
        return
    earlier = read_json(path)
    for name, value in now.items():
        if name not in earlier:  # noted by a version that did not know it
            continue
        if going_on and name in BEFORE_SEGMENT and not (name == "unlabelled pool" and pool_to_the_end):
            continue
        before = comparable(earlier[name], [*context.config.blocks()]) if name == "plan" else earlier[name]
        if name == "unlabelled pool" and isinstance(before, dict):
            before, value = _pools(context, before, value)
        if differing := differences(before, value):
            found = f"a fold begun with other inputs ({name}: {differing})"
            raise UserError(path, found, "the inputs of this run", _REMEDIES.get(name, _RESTORE))


def _fingerprint(context: FoldContext, case: str) -> str:
    """A hash of a preprocessed case: its mask, and the middle slice of its images.

    All of the images would take minutes, and their files differ each time: blosc2 writes in any order. A slice tells
    as much, since intensities are normalised over the whole image.
    """
    images = context.dataset_class(context.labelled_folder, [case])
    data, mask, _, _ = load_case(images, case)
    middle = np.ascontiguousarray(data[:, data.shape[1] // 2])
    return hashlib.sha256(f"{data.shape}".encode() + middle.tobytes() + np.asarray(mask[:]).tobytes()).hexdigest()


def _pool(context: FoldContext) -> Path:
    return context.dataset_layout.unlabelled(context.configuration.data_identifier)


def _note(context: FoldContext, inputs: dict[str, Any]) -> None:
    """Writes the inputs, after what the pool's digests are of: a later message can name the cases that differ."""
    if not context.is_first_rank:
        return
    with Manifest(_pool(context)) as manifest:
        for modality in inputs["unlabelled pool"]:
            with replacing(context.layout.pool_listing(modality)) as temporary:
                temporary.write_bytes(manifest.listing(modality))
    write_json(context.layout.inputs, inputs)


def _pools(context: FoldContext, before: dict[str, Any], now: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two pools whose digests differ, case by case, as far as they are known so."""
    before, now = dict(before), dict(now)
    with Manifest(_pool(context)) as manifest:
        for modality in before.keys() & now.keys():
            kept = context.layout.pool_listing(modality)
            if isinstance(before[modality], dict):  # of an earlier version, which noted every hash
                now[modality] = manifest.hashes(modality)
            elif before[modality] != now[modality] and is_there(kept):
                before[modality], now[modality] = map(read_listing, (kept.read_bytes(), manifest.listing(modality)))
    return before, now
