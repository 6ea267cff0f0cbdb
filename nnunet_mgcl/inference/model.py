"""A trained model that stays in memory, and predicts one patient after the other from Python."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch

from nnunet_mgcl.data.images.checks import image_mistake
from nnunet_mgcl.data.images.files import read_images
from nnunet_mgcl.data.images.single_slice import volume_ml
from nnunet_mgcl.data.pool.scan import check_grids
from nnunet_mgcl.data.results import FINAL, trained_folds
from nnunet_mgcl.inference.input_folder import ALL_IN_ONE, AS_STORED
from nnunet_mgcl.inference.loading import load_predictor
from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
from nnunet_mgcl.inference.prediction import Prediction
from nnunet_mgcl.mismatch.case_files import CaseImages, read_volume, require_volume
from nnunet_mgcl.mismatch.case_mismatch import MismatchOptions, as_values, measure, mismatch_columns
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.system.devices import require_device
from nnunet_mgcl.system.errors import UserError, some

REPLACE = "replace the file"


class Model:
    """A trained model, loaded once and kept warm. It predicts one patient at a time; share it between no threads.

    Args:
        folder: The results folder, `nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION`; no `nnUNet_*` variable is
            needed.
        folds: Which of its folds; None: all that are trained.
        device: `cuda`, `cpu` or `mps`; None: `cuda` where there is one, else `cpu`.
        checkpoint: Name of the folds' weights.
        mirroring: Whether to predict mirrored images too, as nnU-Net does: better, and 4 (2d) or 8 times slower.
        step_size: Of the sliding window, as a part of the patch: above 0, up to 1.

    Raises:
        UserError: The folder has no such trained folds, or is no whole model of this plugin, or the device is missing.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        folds: Sequence[int | str] | None = None,
        *,
        device: str | None = None,
        checkpoint: str = FINAL,
        mirroring: bool = True,
        step_size: float = 0.5,
    ) -> None:
        chosen = _require_folds(Path(folder), folds, checkpoint)
        if not 0 < step_size <= 1:
            raise UserError("step_size", str(step_size), "above 0, up to 1", "step_size=0.5")
        self._predictor = load_predictor(
            MGCLPredictor, Path(folder), chosen, _device(device), checkpoint=checkpoint, use_mirroring=mirroring,
            tile_step_size=step_size, allow_tqdm=False,
        )  # fmt: skip

    @property
    def folds(self) -> list[str]:
        """Names of its folds."""
        return list(self._predictor.folds)

    @property
    def channels(self) -> dict[int, str]:
        """Number and name of each channel that it reads."""
        return channel_names(self._predictor.dataset_json)

    @property
    def targets(self) -> dict[str, list[int]]:
        """The labels of the segmentation that make up each target: a modality's lesion, or a label or region."""
        return dict(self._predictor.targets)

    @property
    def no_tss_reason(self) -> str | None:
        """Why it has no TSS; None where it has one."""
        return self._predictor.no_tss_reason

    def predict(self, image: npt.NDArray[Any], spacing: Sequence[float]) -> Prediction:
        """Predicts a patient from arrays.

        The mismatch needs to know left from right: the axes are taken to run as in SimpleITK's identity direction (x to
        the patient's left, y to the back, z to the head). Give files where they do not.

        Args:
            image: The channels in the model's order, `(C, Z, Y, X)`, registered to each other, finite, not normalised.
            spacing: Edges of a voxel in mm, in the order z, y, x.

        Raises:
            UserError: The image has another type, shape or number of channels, a value that is no number, or no
                spacing.
        """
        segmentation = self._segment(image, spacing)

        def read() -> CaseImages:
            labels = require_volume(_as_image(segmentation, spacing), "the segmentation")
            channels = image.astype(np.float32, copy=False)
            return CaseImages(labels, lambda number, role: _as_image(channels[number], spacing), self._predictor.roles)

        return self._summed_up(segmentation, spacing, read)

    def predict_files(self, files: Sequence[str | PathLike[str]]) -> Prediction:
        """Predicts a patient from one file a channel, in the model's order: what `mgcl predict` would write of them.

        Raises:
            UserError: A file is missing or damaged, or their number or their grids are wrong.
        """
        paths = [Path(file) for file in ([files] if isinstance(files, str | PathLike) else files)]
        reader = self._predictor.plans_manager.image_reader_writer_class
        if len(paths) != len(self.channels) and not (len(paths) == 1 and reader.__name__ in ALL_IN_ONE):
            names = ", ".join(f"{number}: {name}" for number, name in self.channels.items())
            found, expected = f"{len(paths)} files", f"{len(self.channels)}, a channel each: {names}"
            raise UserError("the files", found, expected, "give the model's channels in this order")
        self._require_order(paths)
        for path in paths:
            if mistake := image_mistake(path):
                raise UserError(path, *mistake, REPLACE)
        if reader.__name__ in AS_STORED:
            check_grids(paths, "the patient", place=False)
        image, properties = read_images(reader, paths, REPLACE)
        segmentation = self._segment(image, properties["spacing"])

        def read() -> CaseImages:
            with tempfile.TemporaryDirectory() as folder:  # the reader knows how its arrays lie in the files' grid
                written = Path(folder) / f"segmentation{self._predictor.dataset_json['file_ending']}"
                reader().write_seg(segmentation, str(written), properties)
                labels = read_volume(written, "the segmentation")
            return CaseImages(labels, lambda number, role: read_volume(paths[number], role), self._predictor.roles)

        return self._summed_up(segmentation, properties["spacing"], read)

    def _require_order(self, paths: Sequence[Path]) -> None:
        """Where all names end with a channel's number, as for nnU-Net's commands, it must be that of its place."""
        ending = self._predictor.dataset_json["file_ending"]
        told = [re.search(r"_(\d{4})$", path.name.removesuffix(ending)) for path in paths]
        numbers = [int(own[1]) for own in told if own]
        if len(numbers) == len(paths) == len(self.channels) and numbers != list(self.channels):
            found, expected = f"files of the channels {numbers}", f"{list(self.channels)}, in this order"
            raise UserError("the files", found, expected, "sort them by their channel, or rename them")

    def _segment(self, image: npt.NDArray[Any], spacing: Sequence[float]) -> npt.NDArray[np.integer]:
        return self._predictor.predict_single_npy_array(image, {"spacing": spacing})

    def _summed_up(
        self, segmentation: npt.NDArray[np.integer], spacing: Sequence[float], read: Callable[[], CaseImages]
    ) -> Prediction:
        predictor, columns = self._predictor, mismatch_columns(self._predictor.roles)
        measured = as_values(measure("", read, MismatchOptions()).row, columns) if columns else {}
        z, y, x = map(float, spacing)
        return Prediction(
            segmentation=segmentation,
            spacing=(z, y, x),
            volumes_ml={name: volume_ml(np.isin(segmentation, ls), spacing) for name, ls in predictor.targets.items()},
            mismatch=measured,
            no_tss_reason=predictor.no_tss_reason,
            _tss=None if predictor.no_tss_reason else predictor.tss[0],
        )


def _require_folds(folder: Path, folds: Sequence[int | str] | None, checkpoint: str) -> list[str]:
    """The names of the wanted folds, which must be trained; without a wish the numbered ones, as nnU-Net finds them."""
    trained = trained_folds(folder, checkpoint)
    if not trained:
        expected = f"nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION with a fold_0/{checkpoint}"
        found = "no trained fold" if folder.is_dir() else "no such folder"
        raise UserError(folder, found, expected, "name such a folder, or train a fold with nnUNetv2_train")
    if folds is None:
        return [fold for fold in trained if fold.isdecimal()] or trained
    wanted = [str(fold) for fold in ([folds] if isinstance(folds, int | str) else folds)]
    missing = [fold for fold in wanted if fold not in trained]
    if missing or not wanted:
        found = f"no trained fold {some(missing)}" if missing else "no fold"
        choice = ", ".join(fold if fold.isdecimal() else repr(fold) for fold in trained)
        raise UserError(folder, found, f"some of {choice}", f"folds=[{choice}]")
    return wanted


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        require_device(device)
    except (RuntimeError, UserError):
        raise UserError("device", repr(name), "cuda, cpu or mps, as this machine has it", 'device="cpu"') from None
    return device


def _as_image(volume: npt.NDArray[Any], spacing: Sequence[float]) -> sitk.Image:
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing([float(edge) for edge in reversed(spacing)])
    return image
