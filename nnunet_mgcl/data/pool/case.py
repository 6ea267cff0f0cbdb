"""One case of the unlabelled pool, preprocessed in one modality as nnU-Net would."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.images.checks import Mistake, header_mistake, truncation, value_mistake
from nnunet_mgcl.data.images.files import read_images
from nnunet_mgcl.data.images.single_slice import is_single_slice
from nnunet_mgcl.data.images.voxel_hashes import voxel_hashes
from nnunet_mgcl.data.pool.duplicates import HeldOut, refuse_duplicate
from nnunet_mgcl.data.pool.older_manifest import FileEntry
from nnunet_mgcl.system.errors import UserError, reason
from nnunet_mgcl.system.files import explaining_failure, explaining_writes

PLAN_KEYS = ("transpose_forward", "image_reader_writer", "foreground_intensity_properties_per_channel")
CONFIGURATION_KEYS = (
    "spacing", "preprocessor_name", "normalization_schemes", "use_mask_for_norm",
    "resampling_fn_data", "resampling_fn_data_kwargs", "resampling_fn_seg", "resampling_fn_seg_kwargs",
)  # fmt: skip

_REMEDY = "replace or remove the file"


@dataclass(frozen=True)
class View:
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
class PoolJob:
    """What is needed to preprocess a case in one modality.

    Attributes:
        modality: The modality.
        case: The case.
        files: Its raw files, one per channel.
        described: Their entries in the manifest.
        output: Where it is written to, without ending.
        view: The modality's view of the plan.
        held_out: Voxels that no pool case may have.
    """

    modality: str
    case: str
    files: list[Path]
    described: list[FileEntry]
    output: Path
    view: View
    held_out: HeldOut


def preprocess(job: PoolJob) -> tuple[list[FileEntry], int]:
    """Preprocesses and writes a case.

    Returns:
        Its raw files with the hashes of their voxels, and the number of its slices.

    Raises:
        UserError: Its files are of no use.
        WriteError: The case cannot be written: neither can the others.
    """
    voxels, data, seg, properties = _preprocessed(job)
    data, seg = data.astype(np.float32, copy=False), seg.astype(np.int16, copy=False)
    patch_size = tuple(PlansManager(job.view.plans).get_configuration(job.view.configuration).patch_size)
    blocks, chunks = comp_blosc2_params(data.shape, patch_size, data.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(seg.shape, patch_size, seg.itemsize)
    written = Path(f"{job.output}.b2nd")
    with explaining_writes(written), explaining_failure(written):
        nnUNetDatasetBlosc2.save_case(
            data, seg, properties, str(job.output),
            chunks=chunks, blocks=blocks, chunks_seg=chunks_seg, blocks_seg=blocks_seg,
        )  # fmt: skip
    described = [entry | {"voxels": digest} for entry, digest in zip(job.described, voxels, strict=True)]
    return described, int(data.shape[1])


def _preprocessed(job: PoolJob) -> tuple[list[str], np.ndarray, np.ndarray, dict[str, Any]]:
    """The hashes of the files' voxels, and image, mask and properties as nnU-Net's `run_case_save` makes them.

    Raises:
        UserError: A file is wrong.
    """
    plans = PlansManager(job.view.plans)
    configuration = plans.get_configuration(job.view.configuration)
    where = ", ".join(map(str, job.files))
    for path in job.files:
        _require(path, header_mistake(path) or truncation(path, _stored_mistake))
    data, properties = read_images(plans.image_reader_writer_class, job.files, _REMEDY)
    _require(where, _mistake_in(data, len(job.files)))
    if is_single_slice(properties["spacing"]) and plans.original_median_shape_after_transp[0] > 1:
        raise UserError(where, "a 2d image", "a 3d image, as the training images are", _REMEDY)
    voxels = voxel_hashes(data)
    refuse_duplicate(job.files, voxels, job.held_out)
    try:
        with np.errstate(all="ignore"):  # what comes of it is looked at
            data, seg, properties = configuration.preprocessor_class(verbose=False).run_case_npy(
                data, None, properties, plans, configuration, job.view.dataset_json
            )
    except (ValueError, ArithmeticError, RuntimeError) as error:  # an axis shorter than half a voxel of the plan
        found = f"cannot be preprocessed ({reason(error)})"
        raise UserError(where, found, "an image of the training images' size", _REMEDY) from None
    _require(where, value_mistake(data))
    return voxels, data, seg, properties


def _require(where: object, mistake: Mistake | None) -> None:
    if mistake:
        raise UserError(where, *mistake, _REMEDY)


def _stored_mistake(values: np.ndarray) -> Mistake | None:
    """What is wrong with the values of a NIfTI file, in which SimpleITK hides NaN."""
    if not np.issubdtype(values.dtype, np.number):
        return "colours", "one number a voxel"
    return _mistake_in(values.reshape(1, -1), 1)


def _mistake_in(data: np.ndarray, files: int) -> Mistake | None:
    """What is wrong with the channels `(C, ...)` of so many files; None: nothing."""
    if data.shape[0] != files:
        return "more than one volume in a file", "one 3d volume a file"
    if not np.isfinite(data).all():
        return "NaN or infinite values", "finite intensities"
    if any(channel.min() == channel.max() for channel in data):
        return "one value in all voxels", "an image"
    return None
