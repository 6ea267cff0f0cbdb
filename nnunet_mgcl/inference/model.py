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
from nnunet_mgcl.inference.array_input import check_array
from nnunet_mgcl.inference.input_folder import ALL_IN_ONE, AS_STORED
from nnunet_mgcl.inference.loading import load_predictor
from nnunet_mgcl.inference.mgcl_predictor import UNNAMED, MGCLPredictor
from nnunet_mgcl.inference.missing import READERS, Missing, roles_of, stand_ins
from nnunet_mgcl.inference.prediction import Prediction
from nnunet_mgcl.mismatch.case_files import CaseImages, read_volume, require_volume
from nnunet_mgcl.mismatch.case_mismatch import MismatchOptions, as_values, measure, mismatch_columns
from nnunet_mgcl.mismatch.roles import Roles
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
        fast: Whether windows pass the network in batches also where that changes the last bits of its logits.
        batch: Samples a batch, mirrored copies included; None: what fits.

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
        fast: bool = False,
        batch: int | None = None,
    ) -> None:
        chosen = _require_folds(Path(folder), folds, checkpoint)
        if not 0 < step_size <= 1:
            raise UserError("step_size", str(step_size), "above 0, up to 1", "step_size=0.5")
        if batch is not None and batch < 1:
            raise UserError("batch", str(batch), "1 or more samples", "leave it out")
        self._predictor = load_predictor(
            MGCLPredictor, Path(folder), chosen, _device(device), checkpoint=checkpoint, use_mirroring=mirroring,
            tile_step_size=step_size, allow_tqdm=False, fast=fast, batch=batch,
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

    @property
    def modalities(self) -> dict[str, list[int]]:
        """The channels of each modality; a patient may lack some of them."""
        return dict(self._predictor.config.modalities or {})

    def predict(self, image: npt.NDArray[Any], spacing: Sequence[float], *, missing: Sequence[str] = ()) -> Prediction:
        """Predicts a patient from arrays.

        The mismatch needs to know left from right: the axes are taken to run as in SimpleITK's identity direction (x to
        the patient's left, y to the back, z to the head). Give files where they do not.

        Args:
            image: The channels in the model's order, `(C, Z, Y, X)`, registered to each other, finite, not normalised.
            spacing: Edges of a voxel in mm, in the order z, y, x.
            missing: Modalities that the patient lacks; what their channels hold is not read (`modality_dropout` in
                docs/data.md, "Missing modalities").

        Raises:
            UserError: The image has another type, shape or number of channels, a value that is no number, or no
                spacing; or a modality is unknown, or none is left.
        """
        lacking = self._without(missing, READERS[0])
        if missing:
            check_array(image, {"spacing": spacing}, self.channels)
            image = image.copy()
            image[[number for number in self.channels if number not in lacking.channels(self._present)]] = 0
        segmentation = self._segment(image, spacing)

        def read() -> CaseImages:
            labels = require_volume(_as_image(segmentation, spacing), "the segmentation")
            channels = image.astype(np.float32, copy=False)
            return CaseImages(labels, lambda number, role: _as_image(channels[number], spacing), self._roles(lacking))

        return self._summed_up(segmentation, spacing, read, lacking)

    def predict_files(self, files: Sequence[str | PathLike[str]], *, missing: Sequence[str] = ()) -> Prediction:
        """Predicts a patient from one file a channel, in the model's order: what `mgcl predict` would write of them.

        Args:
            files: Of the channels that the patient has.
            missing: Modalities that the patient lacks.

        Raises:
            UserError: A file is missing or damaged, or their number or their grids are wrong; or a modality is
                unknown, or none is left.
        """
        paths = [Path(file) for file in ([files] if isinstance(files, str | PathLike) else files)]
        reader = self._predictor.plans_manager.image_reader_writer_class
        lacking = self._without(missing, reader.__name__)
        with tempfile.TemporaryDirectory() as folder:
            if missing:
                paths = self._with_stand_ins(paths, lacking, Path(folder))
            return self._predict_paths(paths, lacking)

    def _without(self, missing: Sequence[str], reader: str) -> Missing:
        """Checks the names, and tells the predictor which modalities the next patient has."""
        if isinstance(missing, str):
            raise UserError("missing", repr(missing), "a list of modalities", f"missing=[{missing!r}]")
        lacking = Missing(self.modalities, tuple(missing))
        lacking.check(reader)
        self._present = [name for name in self.modalities if name not in missing]
        self._predictor.present = {UNNAMED: self._present}
        return lacking

    def _with_stand_ins(self, paths: list[Path], lacking: Missing, folder: Path) -> list[Path]:
        """The files with empty images for the channels that are missing."""
        own = lacking.channels(self._present)
        if len(paths) != len(own):
            names = ", ".join(f"{number}: {self.channels[number]}" for number in own)
            expected = f"{len(own)}, a channel each: {names}"
            raise UserError("the files", f"{len(paths)} files", expected, "give the channels that are not missing")
        if mistake := image_mistake(paths[0]):
            raise UserError(paths[0], *mistake, REPLACE)
        ending = self._predictor.dataset_json["file_ending"]
        return stand_ins(dict(zip(own, paths, strict=True)), self.channels, folder, ending)

    def _roles(self, lacking: Missing) -> Roles:
        predictor = self._predictor
        return roles_of(predictor.roles, predictor.targets, lacking, self._present)

    def _predict_paths(self, paths: list[Path], lacking: Missing) -> Prediction:
        """Predicts a patient from a file of every channel."""
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
            return CaseImages(labels, lambda number, role: read_volume(paths[number], role), self._roles(lacking))

        return self._summed_up(segmentation, properties["spacing"], read, lacking)

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
        self, segmentation: npt.NDArray[np.integer], spacing: Sequence[float], read: Callable[[], CaseImages],
        lacking: Missing,
    ) -> Prediction:  # fmt: skip
        predictor, columns = self._predictor, mismatch_columns(self._predictor.roles)
        measured = as_values(measure("", read, MismatchOptions()).row, columns) if columns else {}
        z, y, x = map(float, spacing)
        volumes = {name: volume_ml(np.isin(segmentation, ls), spacing) for name, ls in predictor.targets.items()}
        reason = predictor.no_tss_reason
        if reason is None and not predictor.tss:
            reason = f"the TSS head cannot answer from {', '.join(self._present)} alone"
        return Prediction(
            segmentation=segmentation,
            spacing=(z, y, x),
            volumes_ml={name: None if name in lacking.left_out else own for name, own in volumes.items()},
            mismatch=measured,
            no_tss_reason=reason,
            _tss=None if reason else predictor.tss[0],
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
