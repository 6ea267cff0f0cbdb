"""The cases that TSS numbers are computed from, and the one way to sum them up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunet_mgcl.data.splits import Split
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.measures.classification import missing_class
from nnunet_mgcl.evaluation.measures.probability import Classes, Probabilities, no_skill
from nnunet_mgcl.evaluation.statistics.averages import mean_sd
from nnunet_mgcl.evaluation.statistics.intervals import NO_INTERVAL, Draw, draws, interval

NO_TRAINING_CASES = "no out-of-fold predictions of its training cases: evaluate more folds"

Measure = Callable[[np.ndarray, Classes], Mapping[str, Any]]


@dataclass(frozen=True)
class TSSCases:
    """The cases with a probability and a known TSS, as arrays `(N,)`.

    Attributes:
        names: Of the cases.
        folds: That validated them.
        patients: Whose they are.
        probabilities: Of TSS < 4.5 h.
        calibrated: The cross-fitted probabilities; NaN where there is none.
        actual: Whether the TSS is < 4.5 h.
        whole: Whether the case has all modalities.
    """

    names: list[str]
    folds: np.ndarray
    patients: list[str]
    probabilities: Probabilities
    calibrated: Probabilities
    actual: Classes
    whole: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, cases: Sequence[CaseScores]) -> TSSCases:
        """Leaves out cases without a known TSS."""
        known = [case for case in cases if case.probability is not None and case.tss_class is not None]
        return cls(
            names=[case.case for case in known],
            folds=np.array([case.fold for case in known], dtype=int),
            patients=[case.patient for case in known],
            probabilities=np.array([case.probability for case in known], dtype=float),
            calibrated=np.array([case.calibrated_probability for case in known], dtype=float),
            actual=np.array([case.tss_class == 1 for case in known], dtype=bool),
            whole=np.array([not case.lacks for case in known], dtype=bool),
        )

    def training(self, split: Split) -> tuple[Probabilities, Classes]:
        """The out-of-fold predictions of a fold's training cases: of each that of the model that validated on it.

        It is what may be known when something is chosen for the fold's validation cases.

        Args:
            split: The fold's cases. Those under `val` take no part, nor do other cases of their patients.
        """
        training, validation = (np.isin(self.names, split[part]) for part in ("train", "val"))
        patients = np.array(self.patients)
        chosen = training & ~np.isin(patients, patients[validation])
        return self.probabilities[chosen], self.actual[chosen]

    def summarise(
        self, folds: Sequence[int], names: Sequence[str], measure: Measure, values: np.ndarray, judged: Classes
    ) -> dict[str, Any]:
        """Measures for each fold, over the folds and pooled.

        Args:
            folds: The evaluated folds.
            names: Of the measures.
            measure: Takes values and classes of some cases.
            values: `(N,)`, what is predicted.
            judged: `(N,)`, which cases count.

        Returns:
            `per_fold`, `folds` and `pooled`: of each measure its `value`, `ci95` (see `interval`) and, where the
            measure has one, what predicting the frequency of positives would reach (`no_skill`).
        """
        per_fold = {}
        for fold in folds:
            own = np.flatnonzero((self.folds == fold) & judged)
            found = measure(values[own], self.actual[own])
            per_fold[str(fold)] = {"cases": len(own), "reason": self._reason(own)} | {n: found[n] for n in names}
        everyone = np.flatnonzero(judged)
        resamples = [everyone[draw] for draw in draws([self.patients[i] for i in everyone])]
        pooled, *samples = (measure(values[own], self.actual[own]) for own in (everyone, *resamples))
        intervals = {
            name: NO_INTERVAL if pooled[name] is None else interval([sample[name] for sample in samples])
            for name in names
        }
        reference = {name: {"no_skill": value} for name, value in no_skill(self.actual[everyone]).items()}
        return {
            "per_fold": per_fold,
            "folds": {name: mean_sd([fold[name] for fold in per_fold.values()], "fold") for name in names},
            "pooled": {
                "cases": len(everyone),
                "reason": self._reason(everyone),
                **{name: {"value": pooled[name]} | intervals[name] | reference.get(name, {}) for name in names},
            },
        }

    def _reason(self, indices: Draw) -> str | None:
        """Why something about these cases is undefined."""
        if len(indices):
            return missing_class(self.actual[indices])
        return "no case with a known TSS and a threshold or calibration"
