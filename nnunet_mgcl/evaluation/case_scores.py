"""What is known about one validated case; everything else is computed from a list of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nnunet_mgcl.data.tss_table import TSSTable


@dataclass(frozen=True)
class CaseScores:
    """One labelled case, predicted by the model that did not train on it.

    Attributes:
        case: Its name.
        fold: The fold that validated it.
        patient: Its patient; the case itself where `tss.csv` names none.
        targets: The measures of each target (`segmentation_metrics`).
        tss_class: 1 for TSS < 4.5 h, 0 for a longer one, None where unknown.
        probability: Of TSS < 4.5 h; None without a TSS head.
        lacks: Modalities that the labelled case lacks, joined by +. No map is fitted on such a case, or applied to it.
        calibrated_probability: The same, calibrated without any validation case of its fold; None where that was
            not possible (`evaluation.json` says why under `tss.calibration.per_fold`).
    """

    case: str
    fold: int
    patient: str
    targets: Mapping[str, Mapping[str, float | int | None]]
    tss_class: int | None
    probability: float | None
    calibrated_probability: float | None = None
    lacks: str = ""

    @classmethod
    def of(
        cls, case: str, fold: int, targets: Mapping[str, Mapping[str, float | int | None]],
        table: TSSTable | None, probabilities: Mapping[str, float | None],
    ) -> CaseScores:  # fmt: skip
        """With what a TSS table and the predicted probabilities say of the case; either may know nothing of it."""
        patient, positive = (table.patient(case), table.positive(case)) if table else (case, None)
        return cls(case, fold, patient, targets, None if positive is None else int(positive), probabilities.get(case))
