"""What a phantom is, in figures: how old its strokes are, and how well their signs tell their age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_mgcl.data.tss_table import TSS_WINDOW_HOURS
from nnunet_mgcl.phantom.brain.template import BoolArray, FloatArray
from nnunet_mgcl.phantom.stroke.clock import TissueClock

FOLDS = 5
# The paper's section 1 says how many patients have a penumbra when they come earlier than that.
PENUMBRA_HOURS = 3.0


@dataclass(frozen=True)
class Figures:
    """The figures of some cases; NaN where there are too few cases for a figure.

    Attributes:
        cases: Number of strokes.
        early: Share below 4.5 h.
        hours_mean: Mean time since onset in h.
        hours_sd: Its standard deviation.
        hours_range: Lowest and highest.
        sensitivity: Of "DWI lesion visible, FLAIR lesion not" for less than 4.5 h.
        specificity: Of the same.
        penumbra_early: Share of the strokes below 3 h whose deficit is at least 1.8 times the core.
        auroc_flair: AUROC of the true FLAIR ratio alone.
        auroc_all: Cross-validated AUROC of a logistic regression on the true physical parameters: the ceiling.
        volumes: Number of strokes whose volumes are known.
        core_ml: Their lowest, median and highest volume of the core.
        deficit_ml: The same of the perfusion deficit.
    """

    cases: int
    early: float
    hours_mean: float
    hours_sd: float
    hours_range: tuple[float, float]
    sensitivity: float
    specificity: float
    penumbra_early: float
    auroc_flair: float
    auroc_all: float
    volumes: int
    core_ml: tuple[float, float, float]
    deficit_ml: tuple[float, float, float]


def describe(clocks: Sequence[TissueClock], core_ml: Sequence[float], deficit_ml: Sequence[float]) -> Figures:
    """Computes the figures of at least one stroke; the volumes may be those of some of them only."""
    hours = np.asarray([clock.hours for clock in clocks])
    early = hours < TSS_WINDOW_HOURS
    # Every core is of more than 1 ml: DWI shows it.
    negative = ~np.asarray([clock.flair_visible for clock in clocks])
    penumbra = np.asarray([clock.penumbra for clock in clocks])
    return Figures(
        cases=len(clocks),
        early=_share(early),
        hours_mean=float(hours.mean()),
        hours_sd=float(hours.std()),
        hours_range=(float(hours.min()), float(hours.max())),
        sensitivity=_share(negative[early]),
        specificity=_share(~negative[~early]),
        penumbra_early=_share(penumbra[hours < PENUMBRA_HOURS]),
        auroc_flair=_auroc(-np.asarray([clock.flair_ratio for clock in clocks]), early),
        auroc_all=_cross_validated_auroc(_parameters(clocks), early),
        volumes=len(core_ml),
        core_ml=_spread(core_ml),
        deficit_ml=_spread(deficit_ml),
    )


def render(figures: Figures) -> str:
    """The figures as plain text, with what they should be."""
    f = figures
    rows = [
        ("strokes", f"{f.cases}", ""),
        ("below 4.5 h", f"{f.early:.0%}", "paper 64 %"),
        (
            "time since onset",
            f"{f.hours_mean:.1f} h, sd {f.hours_sd:.1f}",
            "paper 7.3 h, sd 9.2 (see docs/phantom.md)",
        ),
        ("", f"{f.hours_range[0]:.1f} to {f.hours_range[1]:.1f} h", "paper up to 24 h"),
        ("DWI seen, FLAIR not", f"SEN {f.sensitivity:.2f}, SPE {f.specificity:.2f}", "paper, radiologists: 0.63, 0.76"),
        ("penumbra below 3 h", f"{f.penumbra_early:.0%}", "paper about 80 %"),
        ("AUROC, FLAIR ratio", f"{f.auroc_flair:.2f}", ""),
        ("AUROC, all signs", f"{f.auroc_all:.2f}", "the ceiling: logistic regression on the true values"),
        ("core", _volumes(f.core_ml), f"lowest / median / highest of {f.volumes}; paper more than 1 ml"),
        ("perfusion deficit", _volumes(f.deficit_ml), f"lowest / median / highest of {f.volumes}"),
    ]
    return "\n".join(f"{name:<20} {value:<22} {note}".rstrip() for name, value, note in rows)


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


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return float(np.min(values)), float(np.median(values)), float(np.max(values))


def _volumes(spread: tuple[float, float, float]) -> str:
    return "{:.1f} / {:.0f} / {:.0f} ml".format(*spread)
