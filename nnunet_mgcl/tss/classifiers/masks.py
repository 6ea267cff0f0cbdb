"""Where a classifier's lesion masks come from: a segmentation model's predictions, or the truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_mgcl.data.cases.labelled import case_spacing
from nnunet_mgcl.evaluation.runs.label_map import read_label_map
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.runs.tss_validation import VALIDATE_AGAIN
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import file_sha256


class MaskSource(ABC):
    """Label maps of cases on the grid of their preprocessed images."""

    @abstractmethod
    def labels(self, case: str, true: np.ndarray, properties: dict[str, Any]) -> np.ndarray:
        """A label map `(Z, Y, X)`.

        Args:
            case: The case.
            true: The true one on the same grid.
            properties: nnU-Net's of the preprocessed case.
        """


class TrueMasks(MaskSource):
    """The annotation, as the paper's networks got it. No patient who comes in has one."""

    def labels(self, case: str, true: np.ndarray, properties: dict[str, Any]) -> np.ndarray:
        """The true one."""
        return true


class PredictedMasks(MaskSource):
    """What a segmentation model predicted for each case in the fold that validated it.

    A model has never seen the masks that it predicts so, neither of training nor of validation cases. The other folds'
    models, which predict a fold's training cases, were trained on the masks (not on the TSS) of its validation cases; a
    split whose last fold validates cases of their own avoids that too (docs/classifiers.md).

    Args:
        run: The model with all its folds validated.
        plans: Of the classifier: its images' grid.
        configuration: Of the classifier.
    """

    def __init__(self, run: ValidatedRun, plans: PlansManager, configuration: ConfigurationManager) -> None:
        self.run, self.plans, self.configuration = run, plans, configuration
        self.folds = {case: fold for fold in run.folds for case in run.splits[fold]["val"]}

    def described(self) -> dict[str, str]:
        """The model, and a hash of nnU-Net's summary of each fold's validation, which changes with the masks."""
        summaries = {fold: self.run.validation(fold) / "summary.json" for fold in self.run.folds}
        hashes = {f"fold {fold}": file_sha256(path) for fold, path in summaries.items()}
        return {"model": self.run.model.name} | hashes

    def file(self, case: str) -> Path:
        """The predicted label map of a case, on the grid of its raw image.

        Raises:
            UserError: No fold validated the case.
        """
        if case not in self.folds:
            expected = "every labelled case validated once"
            raise UserError(self.run.model, f"no fold has validated {case}", expected, "train and validate all folds")
        return self.run.validation(self.folds[case]) / f"{case}{self.run.dataset_json['file_ending']}"

    def labels(self, case: str, true: np.ndarray, properties: dict[str, Any]) -> np.ndarray:
        """As nnU-Net's preprocessor brings a mask to the images' grid.

        Raises:
            UserError: No fold validated the case, or its segmentation cannot be read or has another shape.
        """
        file = self.file(case)
        labels, _ = read_label_map(file, self.plans.image_reader_writer_class(), VALIDATE_AGAIN)
        turned = labels.transpose(self.plans.transpose_forward)
        if turned.shape != tuple(properties["shape_before_cropping"]):
            expected = f"{tuple(properties['shape_before_cropping'])}, as the image"
            raise UserError(file, f"shape {turned.shape}", expected, VALIDATE_AGAIN)
        box = tuple(slice(*map(int, bounds)) for bounds in properties["bbox_used_for_cropping"])
        spacing = [properties["spacing"][axis] for axis in self.plans.transpose_forward]
        target = case_spacing(self.configuration.spacing, properties, self.plans.transpose_forward)
        return self.configuration.resampling_fn_seg(turned[box][None].astype(np.int16), true.shape, spacing, target)[0]
