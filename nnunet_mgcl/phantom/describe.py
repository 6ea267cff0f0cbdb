"""What a phantom is, in figures: how old its strokes are, and how well their signs tell their age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnunet_mgcl.data.tss_table import TSS_WINDOW_HOURS
from nnunet_mgcl.phantom.brain.template import BoolArray, FloatArray
from nnunet_mgcl.phantom.stroke.clock import TissueClock

FOLDS = 5
# The paper's section 1 says how many patients have a penumbra when they come earlier than that.
PENUMBRA_HOURS = 3.0


def describe(clocks: Sequence[TissueClock], core_ml: Sequence[float], deficit_ml: Sequence[float]) -> dict[str, Any]:
    """Computes the figures of at least one stroke; the volumes may be those of some of them only.

    Returns:
        Number of `cases`; `early`, the share below 4.5 h; `hours_mean`, `hours_sd`, `hours_range`; `sensitivity` and
        `specificity` of "DWI lesion visible, FLAIR lesion not" for less than 4.5 h; `penumbra_early`, the share of
        the strokes below 3 h that have a penumbra; `auroc_flair` of the true FLAIR ratio alone; `auroc_all`, the
        ceiling: cross-validated, of a logistic regression on the true physical parameters; number of `volumes`;
        lowest, median and highest of `core_ml` and `deficit_ml`. NaN where there are too few cases for a figure.
    """
    hours = np.asarray([clock.hours for clock in clocks])
    early = hours < TSS_WINDOW_HOURS
    # Every core is of more than 1 ml: DWI shows it.
    negative = ~np.asarray([clock.flair_visible for clock in clocks])
    penumbra = np.asarray([clock.penumbra for clock in clocks])
    return {
        "cases": len(clocks),
        "early": _share(early),
        "hours_mean": hours.mean(),
        "hours_sd": hours.std(),
        "hours_range": (hours.min(), hours.max()),
        "sensitivity": _share(negative[early]),
        "specificity": _share(~negative[~early]),
        "penumbra_early": _share(penumbra[hours < PENUMBRA_HOURS]),
        "auroc_flair": _auroc(-np.asarray([clock.flair_ratio for clock in clocks]), early),
        "auroc_all": _cross_validated_auroc(_parameters(clocks), early),
        "volumes": len(core_ml),
        "core_ml": np.quantile(core_ml, (0, 0.5, 1)),
        "deficit_ml": np.quantile(deficit_ml, (0, 0.5, 1)),
    }


def render(figures: dict[str, Any]) -> str:
    """The figures as plain text, with what they should be."""
    volumes = "{:.1f} / {:.0f} / {:.0f} ml"
    spread = "lowest / median / highest of {volumes}"
    rows = [
        ("strokes", "{cases}", ""),
        ("below 4.5 h", "{early:.0%}", "paper 64 %"),
        ("time since onset", "{hours_mean:.1f} h, sd {hours_sd:.1f}", "paper 7.3 h, sd 9.2 (see docs/phantom.md)"),
        ("", "{hours_range[0]:.1f} to {hours_range[1]:.1f} h", "paper up to 24 h"),
        ("DWI seen, FLAIR not", "SEN {sensitivity:.2f}, SPE {specificity:.2f}", "paper, radiologists: 0.63, 0.76"),
        ("penumbra below 3 h", "{penumbra_early:.0%}", "paper about 80 %"),
        ("AUROC, FLAIR ratio", "{auroc_flair:.2f}", ""),
        ("AUROC, all signs", "{auroc_all:.2f}", "the ceiling: logistic regression on the true values"),
        ("core", volumes.format(*figures["core_ml"]), f"{spread}; paper more than 1 ml"),
        ("perfusion deficit", volumes.format(*figures["deficit_ml"]), spread),
    ]
    cells = [[cell.format(**figures) for cell in row] for row in rows]
    return "\n".join(f"{name:<20} {value:<22} {note}".rstrip() for name, value, note in cells)


def _parameters(clocks: Sequence[TissueClock]) -> FloatArray:
    """What a perfect reader of the images could measure, `(N, 4)`."""
    return np.asarray([(c.flair_ratio, c.dwi_ratio, c.adc_ratio, c.core_fraction) for c in clocks])


def _cross_validated_auroc(parameters: FloatArray, early: BoolArray) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(early.sum(), (~early).sum()) < FOLDS:
        return float("nan")
    model = make_pipeline(StandardScaler(), LogisticRegression())
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return _auroc(cross_val_predict(model, parameters, early, cv=folds, method="decision_function"), early)


def _auroc(score: FloatArray, early: BoolArray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(early, score)) if 0 < early.sum() < len(early) else float("nan")


def _share(which: BoolArray) -> float:
    return float(which.mean()) if which.size else float("nan")
