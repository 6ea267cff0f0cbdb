"""The unlabelled pool, preprocessed modality by modality as nnU-Net would."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from rich.progress import track

from nnunet_mgcl.data.images.checks import header_mistake, value_mistake
from nnunet_mgcl.data.images.single_slice import is_single_slice
from nnunet_mgcl.data.images.voxel_hashes import voxel_hashes
from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.pool.duplicates import HeldOut, held_out_voxels, refuse_duplicate
from nnunet_mgcl.data.pool.manifest import SAVE_EVERY, FileEntry, Manifest, locked
from nnunet_mgcl.data.pool.scan import scan_pool
from nnunet_mgcl.data.splits import Split
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.plans import merged_configuration, modality_view
from nnunet_mgcl.system.errors import UserError, counted, reason
from nnunet_mgcl.system.files import WriteError, explaining_failure, explaining_writes
from nnunet_mgcl.system.workers import run_here, submitted

PLAN_KEYS = ("transpose_forward", "image_reader_writer", "foreground_intensity_properties_per_channel")
CONFIGURATION_KEYS = (
    "spacing",
    "preprocessor_name",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)

Log = Callable[[str], None]


def prepare_pool(
    layout: DatasetLayout,
    plans: dict[str, Any],
    configuration: str,
    dataset_json: dict[str, Any],
    config: MGCLConfig,
    splits: list[Split],
    num_processes: int,
    log: Log,
    progress: bool = True,
) -> dict[str, list[str]]:
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
        modality: _View(*modality_view(plans, configuration, dataset_json, channels, None), configuration, channels)
        for modality, channels in config.modalities.items()
    }
    raw = layout.raw_unlabelled
    if raw is None or not os.path.lexists(raw):
        return _without_raw(layout, views, config, data_identifier, log)
    if not raw.is_dir():
        raise UserError(raw, "no folder", "a folder of unlabelled images", "mend or remove it")

    files = scan_pool(raw, dataset_json, config.modalities)
    with locked(pool, log):
        manifest = Manifest(pool)
        held_out: HeldOut = {}
        if any(files.values()):
            held_out = held_out_voxels(raw.parent, plans, dataset_json, splits, manifest, num_processes, log, progress)
        jobs = []
        for modality, view in views.items():
            todo = manifest.refresh(modality, view.fingerprint, files[modality], held_out)
            for case, described in todo.items():
                paths = files[modality][case]
                jobs.append(_Job(modality, case, paths, described, pool / modality / case, view, held_out))
            log(f"Unlabelled pool, {modality}: {counted(len(files[modality]), 'case')}, {len(todo)} to preprocess")
        _run(jobs, manifest, num_processes, progress)
    return pool_cases(layout, config, data_identifier)


def pool_cases(layout: DatasetLayout, config: MGCLConfig, data_identifier: str) -> dict[str, list[str]]:
    """The preprocessed cases of each modality, sorted; an empty list where there are none."""
    manifest = Manifest(layout.unlabelled(data_identifier))
    return {modality: sorted(manifest.cases(modality)) for modality in config.modalities or {}}


@dataclass(frozen=True)
class _View:
    """The one-modality view of a plan, as `modality_view` returns it."""

    plans: dict[str, Any]
    dataset_json: dict[str, Any]
    configuration: str
    channels: list[int]

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything but the images that decides how they look after preprocessing."""
        resolved = self.plans["configurations"][self.configuration]
        entries = {key: self.plans.get(key) for key in PLAN_KEYS}
        entries |= {key: resolved.get(key) for key in CONFIGURATION_KEYS}
        return {"nnunetv2": version("nnunetv2"), "channels": self.channels, **entries}


@dataclass(frozen=True)
class _Job:
    modality: str
    case: str
    files: list[Path]
    described: list[FileEntry]
    output: Path
    view: _View
    held_out: HeldOut


def _run(jobs: list[_Job], manifest: Manifest, num_processes: int, progress: bool) -> None:
    """Preprocesses all jobs, lists what succeeded, then raises the first mistake."""
    mistakes, results = [], _results(jobs, num_processes)
    try:
        finished = track(results, "Preprocessing the pool", len(jobs), disable=not progress)
        for number, (job, result) in enumerate(finished, start=1):
            try:
                manifest.add(job.modality, job.case, job.described, voxels=result.result())
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


def _results(jobs: list[_Job], num_processes: int) -> Generator[tuple[_Job, Future[list[str]]], None, None]:
    if num_processes <= 1 or len(jobs) <= 1:
        yield from ((job, run_here(_preprocess, job)) for job in jobs)
        return
    with submitted(_preprocess, jobs, num_processes) as futures:
        for future in as_completed(futures):
            if isinstance(future.exception(), BrokenProcessPool):
                raise UserError(
                    "preprocessing of the pool", "a worker process was killed", "enough memory for all of them",
                    "use fewer processes, e.g. mgcl prepare -np 1",
                )  # fmt: skip
            yield futures[future], future


def _preprocess(job: _Job) -> list[str]:
    """Preprocesses one case as nnU-Net's `run_case_save` does.

    Returns:
        The hashes of its files' voxels.

    Raises:
        UserError: Its files are of no use.
        WriteError: The case cannot be written: neither can the others.
    """
    plans = PlansManager(job.view.plans)
    configuration = plans.get_configuration(job.view.configuration)
    for path in job.files:
        if mistake := header_mistake(path) or _nifti_mistake(path):
            raise UserError(path, *mistake, _REMEDY)
    where = ", ".join(map(str, job.files))
    try:
        data, properties = plans.image_reader_writer_class().read_images([str(path) for path in job.files])
    except Exception as error:  # every reader raises exceptions of its own
        raise UserError(where, f"cannot be read ({reason(error)})", "an intact image", _REMEDY) from None
    if mistake := _mistake_in(data, len(job.files)):
        raise UserError(where, *mistake, _REMEDY)
    if is_single_slice(properties["spacing"]) and plans.original_median_shape_after_transp[0] > 1:
        raise UserError(where, "a 2d image", "a 3d image, as the training images are", _REMEDY)
    voxels = voxel_hashes(data)
    refuse_duplicate(job.files, voxels, job.held_out)

    preprocessor = configuration.preprocessor_class(verbose=False)
    try:
        with np.errstate(all="ignore"):  # what comes of it is looked at
            data, seg, properties = preprocessor.run_case_npy(
                data, None, properties, plans, configuration, job.view.dataset_json
            )
    except (ValueError, ArithmeticError, RuntimeError) as error:  # an axis shorter than half a voxel of the plan
        found = f"cannot be preprocessed ({reason(error)})"
        raise UserError(where, found, "an image of the training images' size", _REMEDY) from None
    if mistake := value_mistake(data):
        raise UserError(where, *mistake, _REMEDY)
    data, seg = data.astype(np.float32, copy=False), seg.astype(np.int16, copy=False)
    blocks, chunks = comp_blosc2_params(data.shape, tuple(configuration.patch_size), data.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(seg.shape, tuple(configuration.patch_size), seg.itemsize)
    written = Path(f"{job.output}.b2nd")
    with explaining_writes(written), explaining_failure(written):
        nnUNetDatasetBlosc2.save_case(
            data, seg, properties, str(job.output),
            chunks=chunks, blocks=blocks, chunks_seg=chunks_seg, blocks_seg=blocks_seg,
        )  # fmt: skip
    return voxels


_REMEDY = "replace or remove the file"


def _nifti_mistake(path: Path) -> tuple[str, str] | None:
    """Finds what SimpleITK hides in NIfTI files: it reads NaN, and all that a truncated file lacks, as 0."""
    if not path.name.endswith((".nii", ".nii.gz")):
        return None
    try:
        image: Any = nibabel.load(path)
        values = np.asanyarray(image.dataobj).reshape(1, -1)
    except Exception as error:  # gzip, zlib, OS and nibabel's own errors
        return f"cannot be read ({reason(error)})", "an intact image"
    if not np.issubdtype(values.dtype, np.number):
        return "colours", "one number a voxel"
    return _mistake_in(values, 1)


def _mistake_in(data: np.ndarray, files: int) -> tuple[str, str] | None:
    """What is wrong with the channels `(C, ...)` of so many files; None: nothing."""
    if data.shape[0] != files:
        return "more than one volume in a file", "one 3d volume a file"
    if not np.isfinite(data).all():
        return "NaN or infinite values", "finite intensities"
    if any(channel.min() == channel.max() for channel in data):
        return "one value in all voxels", "an image"
    return None


def _without_raw(
    layout: DatasetLayout, views: dict[str, _View], config: MGCLConfig, data_identifier: str, log: Log
) -> dict[str, list[str]]:
    """The pool as an earlier run left it, where `imagesUn` is not on this machine."""
    manifest = Manifest(layout.unlabelled(data_identifier))
    for modality, view in views.items():
        if manifest.cases(modality) and not manifest.fits(modality, view.fingerprint):
            raise UserError(
                manifest.pool / modality, "images of another plan or nnU-Net version", "those of this plan",
                f"put imagesUn back into {layout.raw or 'nnUNet_raw'}, or remove the folder",
            )  # fmt: skip
        for case in manifest.cases(modality):
            if damage := manifest.damage(modality, case):
                raise UserError(
                    manifest.pool / modality / case, damage, "a whole preprocessed case",
                    f"put imagesUn back into {layout.raw or 'nnUNet_raw'} and run mgcl prepare, or copy the file again",
                )  # fmt: skip
    cases = pool_cases(layout, config, data_identifier)
    if any(cases.values()):
        log(f"No raw imagesUn: using the preprocessed pool in {manifest.pool}")
    else:
        log("No unlabelled pool (imagesUn)")
    return cases
