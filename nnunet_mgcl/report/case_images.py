"""Reads what is drawn of a case: its channels and label maps, turned to the radiological view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunet_mgcl.evaluation.runs.label_map import read_label_map
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.pictures.anatomical_view import AnatomicalView, same_place
from nnunet_mgcl.pictures.case_panels import Panel
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.system.errors import UserError, reason


@dataclass(frozen=True)
class CaseImages:
    """A case as it is drawn, all arrays on one grid.

    Attributes:
        run: The model, which says what channels and labels are.
        channels: `(C, Z, Y, X)`; what is no number is 0.
        reference: Label map `(Z, Y, X)`; None where none is known.
        prediction: Label map `(Z, Y, X)`.
        spacing: Of a voxel, `(z, y, x)` in mm.
        sides: As `AnatomicalView.sides`.
    """

    run: ValidatedRun
    channels: np.ndarray
    reference: np.ndarray | None
    prediction: np.ndarray
    spacing: tuple[float, ...]
    sides: tuple[str, str] | None

    @classmethod
    def read(cls, run: ValidatedRun, images: Sequence[Path], prediction: Path, reference: Path | None) -> CaseImages:
        """Reads a case with the reader of the plan.

        Args:
            run: The model.
            images: Files of its channels (`channel_files`).
            prediction: Its label map.
            reference: The true one, if it is known.

        Raises:
            UserError: A file cannot be read, or is of another shape; or the prediction lies elsewhere in space. (Of the
                reference nnU-Net looks at the voxels alone, in training and here.)
        """
        reader = run.plans.image_reader_writer_class()
        for needed in (*images, prediction, *([reference] if reference else [])):
            if not needed.is_file():
                raise UserError(needed, "no such file", "an image", "check the folder")
        try:
            channels, properties = reader.read_images([str(path) for path in images])
        except Exception as error:  # the readers' libraries have errors of their own
            raise UserError(images[0], f"cannot be read ({reason(error)})", "an image", "check the file") from None
        if len(channels) != len(names := channel_names(run.dataset_json)):
            raise UserError(images[0], f"{len(channels)} channels", f"{names}", "check the folder")
        predicted, its_properties = _read_map(reader, prediction, channels[0])
        if not same_place(properties, its_properties):
            raise UserError(
                prediction, f"another direction, origin or spacing than {images[0].name}", "those of the images",
                "name the images that were predicted, or predict them again",
            )  # fmt: skip
        true = _read_map(reader, reference, channels[0])[0] if reference else None
        view = AnatomicalView.of(properties)
        channels = np.stack([view.turn(np.nan_to_num(c, nan=0.0, posinf=0.0, neginf=0.0)) for c in channels])
        turned = (None if true is None else view.turn(true), view.turn(predicted))
        return cls(run, channels, *turned, view.turn_spacing(properties["spacing"]), view.sides)

    def panel(self, title: str, channel: int, targets: Mapping[str, list[int]]) -> Panel:
        """One channel with the outlines of some targets; voxels of nnU-Net's ignore label do not count."""
        counted, references = np.ones(self.prediction.shape, bool), []
        if self.reference is not None:
            references = [np.isin(self.reference, labels) for labels in targets.values()]
            counted = self.reference != self.run.dataset_json["labels"].get("ignore", -1)
        predictions = [np.isin(self.prediction, labels) & counted for labels in targets.values()]
        return Panel(title, self.channels[channel], references, predictions, list(targets))


def channel_files(folder: Path, case: str, dataset_json: Mapping[str, Any]) -> list[Path]:
    """The files of a case's channels, whether they are there or not; of a picture with all in one, that one."""
    files = [folder / f"{case}_{n:04d}{dataset_json['file_ending']}" for n in channel_names(dict(dataset_json))]
    return files if any(path.is_file() for path in files[1:]) else files[:1] if files[0].is_file() else files


def own_targets(run: ValidatedRun, modality: str) -> dict[str, list[int]]:
    """The targets that are outlined on a modality: its own lesion, or all where the modalities share them."""
    return {modality: run.targets[modality]} if run.lesion_labels and modality in run.targets else run.targets


def _read_map(reader: BaseReaderWriter, path: Path, image: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """A label map `(Z, Y, X)` of the shape of an image, and its properties."""
    label_map, properties = read_label_map(path, reader, "check the file")
    if label_map.shape != image.shape:
        raise UserError(path, f"shape {label_map.shape}", f"{image.shape}, as the images", "check the folder")
    return label_map, properties
