"""The unlabelled pool, preprocessed modality by modality as nnU-Net would."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.pool.case import View
from nnunet_mgcl.data.pool.duplicates import HeldOutImages, held_out_images
from nnunet_mgcl.data.pool.manifest import MANIFEST, Manifest
from nnunet_mgcl.data.pool.older_manifest import OLDER
from nnunet_mgcl.data.pool.parts import WHOLE, PoolPart, join_parts, prepare_part
from nnunet_mgcl.data.pool.scan import scan_pool
from nnunet_mgcl.data.pool.work import Work
from nnunet_mgcl.data.splits import Split
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.plan.plans import merged_configuration, modality_view
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there
from nnunet_mgcl.system.run_lock import run_lock

Log = Callable[[str], None]

_PREPARED = "prepared"
"""Note of the manifest: what the pool was last compared with, and found complete."""
_TICK = 2_000_000_000
"""Nanoseconds of the coarsest clock of a file system: a folder may change again without another time of change."""


def prepare_pool(
    layout: DatasetLayout, plans: dict[str, Any], configuration: str, dataset_json: dict[str, Any],
    config: MGCLConfig, splits: list[Split], num_processes: int, log: Log, progress: bool = True, *,
    refresh: bool = False, part: PoolPart = WHOLE,
) -> dict[str, list[str]] | None:  # fmt: skip
    """Preprocesses what is new or changed in the pool and forgets what is gone.

    Every modality goes through its one-modality view of the plan and nnU-Net's own preprocessor. Another process that
    prepares the same pool is waited for. Where nothing has changed since it was complete, no file is looked at.

    Args:
        layout: The dataset's paths.
        plans: Content of the plans file.
        configuration: One of its configurations.
        dataset_json: Content of `dataset.json`.
        config: The resolved block.
        splits: The cross-validation split; the pool may hold no image of a validation case.
        num_processes: Worker processes; 1 works in this process.
        log: Takes one line for the user.
        progress: Whether to show a progress bar.
        refresh: Whether every file is looked at all the same: one may have been overwritten in place.
        part: The share of the work that is this process's.

    Returns:
        The cases of each modality; None while other parts are at work.

    Raises:
        UserError: `imagesUn` or one of its images is wrong. The other images are prepared nevertheless.
    """
    data_identifier = merged_configuration(plans, configuration)["data_identifier"]
    pool, raw = layout.unlabelled(data_identifier), layout.raw_unlabelled
    views = _views(plans, configuration, dataset_json, config)
    _take_over_older(pool, log)
    if raw is None or not os.path.lexists(raw):
        cases = pool_cases(layout, config, data_identifier)
        _check_without_raw(pool, cases, views, f"put imagesUn back into {layout.raw or 'nnUNet_raw'}", log)
        return cases
    if not raw.is_dir():
        raise UserError(raw, "no folder", "a folder of unlabelled images", "mend or remove it")

    images = held_out_images(raw.parent, plans, dataset_json, splits, log)
    state = _state(raw, images, dataset_json)
    if refresh or not _is_prepared(pool, views, state, log):
        work = Work(views, scan_pool(raw, dataset_json, config.modalities or {}), images, num_processes, log, progress)
        if part.total > 1:
            rest = plans, configuration, dataset_json, config, splits, num_processes, log, progress
            return prepare_pool(layout, *rest, refresh=True) if prepare_part(work, pool, part) else None
        _complete(work, pool, state)
    return pool_cases(layout, config, data_identifier)


def _views(
    plans: dict[str, Any], configuration: str, dataset_json: dict[str, Any], config: MGCLConfig
) -> dict[str, View]:
    """Each modality's view of the plan."""
    assert config.modalities is not None  # resolved
    return {
        modality: View(*modality_view(plans, configuration, dataset_json, channels, None), configuration, channels)
        for modality, channels in config.modalities.items()
    }


def pool_cases(layout: DatasetLayout, config: MGCLConfig, data_identifier: str) -> dict[str, list[str]]:
    """The preprocessed cases of each modality, sorted; an empty list where there are none."""
    with Manifest(layout.unlabelled(data_identifier)) as manifest:
        return {modality: manifest.cases(modality) for modality in config.modalities or {}}


def _complete(work: Work, pool: Path, state: dict[str, Any]) -> None:
    """Joins what parts have left, does what is missing, and notes with what the pool then agrees."""
    with _alone(pool, work.log) as writable, Manifest(pool, writes=writable) as manifest:
        if writable:
            manifest.set_note(_PREPARED, None)
            join_parts(manifest, work.plans, work.log)
        work.run(manifest, work.files, work.held_out(manifest))
        if writable:
            manifest.store_digests()
            manifest.set_note(_PREPARED, state)
            manifest.save()


@contextmanager
def _alone(pool: Path, log: Log) -> Iterator[bool]:
    """Waits for another process that prepares the pool; False for one that cannot be written to and needs no lock."""
    with ExitStack() as stack:
        writable = True
        try:
            stack.enter_context(run_lock(pool / ".lock", pool, "process", wait=log))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            log(f"{pool} cannot be written to: used as it is")
            writable = False
        yield writable


def _take_over_older(pool: Path, log: Log) -> None:
    """Converts the manifest of an earlier version, once."""
    if is_there(pool, "folder") and not is_there(pool / MANIFEST) and is_there(pool / OLDER):
        with _alone(pool, log) as writable:
            if writable:
                with Manifest(pool, writes=True) as manifest:
                    manifest.store_digests()
                    manifest.save()


def _state(raw: Path, images: HeldOutImages, dataset_json: dict[str, Any]) -> dict[str, Any]:
    """What the pool depends on besides its plan.

    `imagesUn` is when a file was last added, removed or renamed; None: so lately that it may happen again in the same
    moment.
    """
    changed = raw.stat().st_mtime_ns
    return {
        "imagesUn": changed if time.time_ns() - changed > _TICK else None,
        "validation images": images.digest,
        "channels": [*channel_names(dataset_json).values()],
        "file ending": dataset_json["file_ending"],
    }


def _is_prepared(pool: Path, views: dict[str, View], state: dict[str, Any], log: Log) -> bool:
    """Whether nothing has changed since the pool was complete."""
    with Manifest(pool) as manifest:
        if state["imagesUn"] is None or manifest.note(_PREPARED) != state:
            return False
        if any(manifest.plan(modality) != view.fingerprint for modality, view in views.items()):
            return False
    log("Unlabelled pool: imagesUn and the plan are as when it was prepared")
    return True


def _check_without_raw(pool: Path, cases: dict[str, list[str]], views: dict[str, View], remedy: str, log: Log) -> None:
    """Checks the pool as an earlier run left it, where `imagesUn` is not on this machine."""
    filled = [modality for modality, own in cases.items() if own]
    with Manifest(pool) as manifest:
        for modality in filled:
            if manifest.plan(modality) != views[modality].fingerprint:
                found = "images of another plan or nnU-Net version"
                raise UserError(pool / modality, found, "those of this plan", f"{remedy}, or remove the folder")
    log(f"No raw imagesUn: using the preprocessed pool in {pool}" if filled else "No unlabelled pool (imagesUn)")
