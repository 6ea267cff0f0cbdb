"""What a model says about one patient."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nnunet_mgcl.inference.tss_prediction import TSSPrediction
from nnunet_mgcl.system.errors import UserError


@dataclass(frozen=True)
class Prediction:
    """One patient's segmentation, time since stroke onset (TSS), lesion volumes and mismatch.

    Attributes:
        segmentation: Label map `(Z, Y, X)` on the image's own grid, as nnU-Net returns it.
        spacing: Edges of a voxel in mm, in the order of the axes.
        volumes_ml: Volume of each target's lesion in ml; None for a single slice, which has no thickness, and for a
            modality that the patient lacks.
        mismatch: The columns of docs/mismatch.md that the model's channels and masks allow, measured on the predicted
            masks: volumes in ml, ratios, `flair_positive` and the rules as bool; None where a number does not exist,
            for the reason in `mismatch_reason`. Empty where the model has no such channels.
        no_tss_reason: Why there is no TSS; None where there is one.
    """

    segmentation: npt.NDArray[np.integer]
    spacing: tuple[float, float, float]
    volumes_ml: dict[str, float | None]
    mismatch: dict[str, float | str | None]
    no_tss_reason: str | None
    _tss: TSSPrediction | None = field(repr=False)

    @property
    def tss(self) -> TSSPrediction:
        """The probability of TSS < 4.5 h with its spread over the folds.

        Raises:
            UserError: The model has no trained TSS head.
        """
        if self._tss is None:
            remedy = "ask no_tss_reason before; to have a TSS, train with a tss.csv beside the raw data"
            raise UserError("the TSS", self.no_tss_reason or "none", "a trained TSS head in every fold", remedy)
        return self._tss
