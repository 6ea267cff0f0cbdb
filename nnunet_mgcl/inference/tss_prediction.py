"""What the folds of a model say together about the TSS of one patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnunet_mgcl.evaluation.calibration.maps import Calibration


@dataclass(frozen=True)
class TSSPrediction:
    """The probability of TSS < 4.5 h of one patient: the numbers of a row of `mgcl predict`'s `tss.csv`, and a spread.

    Attributes:
        probability: Mean over the folds, 0 to 1; calibrated where `calibration` names how.
        spread: Standard deviation of `folds` (with n - 1); None with a single fold.
        predicted_class: 1 (TSS < 4.5 h) from a probability of 0.5 on, else 0.
        folds: Probability of each fold's head by the fold's name, calibrated as `probability` is.
        probability_raw: Mean of `folds_raw`.
        folds_raw: The same before calibration.
        calibration: The method of the model's map (`mgcl evaluate` fits it), or `none`.
        case: The patient's name; empty where arrays were given, which have none.
    """

    probability: float
    spread: float | None
    predicted_class: int
    folds: dict[str, float]
    probability_raw: float
    folds_raw: dict[str, float]
    calibration: str
    case: str = ""

    @classmethod
    def of_folds(cls, folds: Mapping[str, float], calibration: Calibration | None, case: str = "") -> TSSPrediction:
        """Sums the folds up.

        A map belongs to the probabilities of a single fold's model, so every fold's is calibrated before the mean. The
        six decimals of `tss.csv` are what counts: a row that was read gives what it gave when it was written.

        Args:
            folds: Raw probability of each fold.
            calibration: The model's map; None: they stay raw.
            case: The patient's name.
        """
        raw = {fold: round(float(value), 6) for fold, value in folds.items()}
        calibrated = {fold: calibration.apply(value) for fold, value in raw.items()} if calibration else raw
        values = list(calibrated.values())
        probability = round(float(np.mean(values)), 6)
        return cls(
            probability=probability,
            spread=float(np.std(values, ddof=1)) if len(values) > 1 else None,
            predicted_class=int(probability >= 0.5),
            folds=calibrated,
            probability_raw=round(float(np.mean(list(raw.values()))), 6),
            folds_raw=raw,
            calibration=calibration.method if calibration else "none",
            case=case,
        )
