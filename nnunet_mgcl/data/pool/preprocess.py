"""The unlabelled pool, preprocessed modality by modality as nnU-Net would."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.progress import track

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.pool.case import PoolJob, View, preprocess
from nnunet_mgcl.data.pool.duplicates import HeldOut, held_out_voxels
from nnunet_mgcl.data.pool.manifest import SAVE_EVERY, Manifest
from nnunet_mgcl.data.pool.scan import scan_pool
from nnunet_mgcl.data.splits import Split
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.plans import merged_configuration, modality_view
from nnunet_mgcl.system.errors import UserError, counted
from nnunet_mgcl.system.files import WriteError
from nnunet_mgcl.system.run_lock import run_lock
from nnunet_mgcl.system.workers import run_each

Log = Callable[[str], None]


def prepare_pool(
    layout: DatasetLayout, plans: dict[str, Any], configuration: str, dataset_json: dict[str, Any],
    config: MGCLConfig, splits: list[Split], num_processes: int, log: Log, progress: bool = True,
) -> dict[str, list[str]]:  # fmt: skip
    """Preprocesses what is new or changed in the pool and forgets what is gone.

    Every modality goes through its one-modality view of the plan and nnU-Net's own preprocessor. Another
    process that prepares the same pool is waited for.

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

    Returns:
        The cases of each modality.

    Raises:
        UserError: `imagesUn` or one of its images is wrong. The other images are prepared nevertheless.
    """
    assert config.modalities is not None  # resolved
    data_identifier = merged_configuration(plans, configuration)["data_identifier"]
    pool = layout.unlabelled(data_identifier)
    views = {
        modality: View(*modality_view(plans, configuration, dataset_json, channels, None), configuration, channels)
        for modality, channels in config.modalities.items()
    }
    raw = layout.raw_unlabelled
    if raw is None or not os.path.lexists(raw):
        _check_without_raw(Manifest(pool), views, f"put imagesUn back into {layout.raw or 'nnUNet_raw'}", log)
        return pool_cases(layout, config, data_identifier)
    if not raw.is_dir():
        raise UserError(raw, "no folder", "a folder of unlabelled images", "mend or remove it")

    files = scan_pool(raw, dataset_json, config.modalities)
    with _alone(pool, log):
        manifest = Manifest(pool)
        held_out = held_out_voxels(raw.parent, plans, dataset_json, splits, manifest, num_processes, log, progress)
        jobs = []
        for modality, view in views.items():
            jobs += _new_jobs(modality, view, files[modality], manifest, held_out, log)
        _run(jobs, manifest, num_processes, progress)
    return pool_cases(layout, config, data_identifier)


@contextmanager
def _alone(pool: Path, log: Log) -> Iterator[None]:
    """Waits for another process that prepares the pool; one that cannot be written to needs no lock."""
    with ExitStack() as stack:
        try:
            stack.enter_context(run_lock(pool / ".lock", pool, "process", wait=log))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            log(f"{pool} cannot be written to: used as it is")
        yield


def pool_cases(layout: DatasetLayout, config: MGCLConfig, data_identifier: str) -> dict[str, list[str]]:
    """The preprocessed cases of each modality, sorted; an empty list where there are none."""
    manifest = Manifest(layout.unlabelled(data_identifier))
    return {modality: sorted(manifest.cases(modality)) for modality in config.modalities or {}}


def _new_jobs(
    modality: str, view: View, files: dict[str, list[Path]], manifest: Manifest, held_out: HeldOut, log: Log
) -> list[PoolJob]:
    """What a modality lacks; what is there and no longer wanted is forgotten."""
    todo = manifest.refresh(modality, view.fingerprint, files, held_out)
    log(f"Unlabelled pool, {modality}: {counted(len(files), 'case')}, {len(todo)} to preprocess")
    return [
        PoolJob(modality, case, files[case], described, manifest.pool / modality / case, view, held_out)
        for case, described in todo.items()
    ]


def _run(jobs: list[PoolJob], manifest: Manifest, num_processes: int, progress: bool) -> None:
    """Preprocesses all jobs, lists what succeeded, then raises the first mistake."""
    mistakes = []
    results = run_each(preprocess, jobs, num_processes, "use fewer processes, e.g. mgcl prepare -np 1")
    try:
        finished = track(results, "Preprocessing the pool", len(jobs), disable=not progress)
        for number, (job, future) in enumerate(finished, start=1):
            try:
                manifest.add(job.modality, job.case, job.described, voxels=future.result())
            except WriteError:
                raise
            except UserError as mistake:
                mistakes.append(mistake)
            if number % SAVE_EVERY == 0:
                manifest.save()
    finally:
        results.close()  # what has not begun is given up
        manifest.save()
    if mistakes:
        first = min(mistakes, key=lambda mistake: mistake.where)
        more = f" ({len(mistakes) - 1} more images are wrong)" if len(mistakes) > 1 else ""
        raise UserError(first.where, first.found + more, first.expected, first.remedy)


def _check_without_raw(manifest: Manifest, views: dict[str, View], remedy: str, log: Log) -> None:
    """Checks the pool as an earlier run left it, where `imagesUn` is not on this machine."""
    for modality, view in views.items():
        folder, cases = manifest.pool / modality, manifest.cases(modality)
        if cases and not manifest.fits(modality, view.fingerprint):
            found = "images of another plan or nnU-Net version"
            raise UserError(folder, found, "those of this plan", f"{remedy}, or remove the folder")
        for case in cases:
            if damage := manifest.damage(modality, case):
                remedy += " and run mgcl prepare, or copy the file again"
                raise UserError(folder / case, damage, "a whole preprocessed case", remedy)
    if any(manifest.cases(modality) for modality in views):
        log(f"No raw imagesUn: using the preprocessed pool in {manifest.pool}")
    else:
        log("No unlabelled pool (imagesUn)")
