"""The ROC curve of the TSS classification."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from nnunet_mgcl.evaluation.measures.classification import missing_class
from nnunet_mgcl.report.page.section import Picture
from nnunet_mgcl.report.page.style import BLACK, BLUE, GREEN, GREY, HALF_WIDTH, ORANGE, VERMILION, figure_style
from nnunet_mgcl.report.page.wording import number, operating_point, with_interval
from nnunet_mgcl.system.errors import counted

MARKS = ((VERMILION, "o"), (GREEN, "D"), (ORANGE, "s"), (BLACK, "^"))
"""Colour and marker of the operating points."""


def roc_picture(cases: list[dict[str, Any]], tss: dict[str, Any]) -> Picture:
    """The curve of all cases, a thin one a fold, and the operating points.

    Args:
        cases: Those with a probability and a known TSS, of both classes.
        tss: What `evaluation.json` says about the TSS.
    """
    with figure_style():
        figure = Figure(figsize=(HALF_WIDTH, 5.3))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], ":", color=GREY, linewidth=1, label="chance")
        folds = _draw_folds(axes, cases)
        label = f"all cases, AUROC {with_interval(tss['measures']['pooled']['AUROC'])}"
        axes.plot(*_curve(cases), color=BLUE, linewidth=2, label=label)
        _mark(axes, tss)
        axes.set(
            xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal",
            title=f"ROC curve of TSS < 4.5 h (n = {len(cases)})",
        )  # fmt: skip
        axes.grid(alpha=0.25)
        figure.legend(loc="outside lower center")
    caption = (
        f"Out-of-fold predictions of {counted(len(cases), 'case')}, {tss['positive']} of them positive"
        f"{f'; thin lines: single folds ({folds} of them have both classes)' if folds else ''}. Every fold's cases "
        "are judged at a threshold that was chosen without them, so a mark need not lie on the curve of all cases."
    )
    if len({case["fold"] for case in cases}) > 1:
        caption += (
            " The AUROC of all cases compares probabilities of different folds' models: most pairs are of two folds."
        )
    alt = f"ROC curve with AUROC {with_interval(tss['measures']['pooled']['AUROC'])}."
    return Picture("tss_roc", figure, caption, alt)


def _curve(cases: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    classes, probabilities = ([case[key] for case in cases] for key in ("tss_class", "probability"))
    false_positive, true_positive, _ = roc_curve(classes, probabilities, drop_intermediate=False)
    return false_positive, true_positive


def _draw_folds(axes: Axes, cases: list[dict[str, Any]]) -> int:
    """Draws the folds that have both classes, where there are several folds; returns how many."""
    by_fold = {fold: [case for case in cases if case["fold"] == fold] for fold in {case["fold"] for case in cases}}
    drawn = [own for own in by_fold.values() if not missing_class(np.array([c["tss_class"] == 1 for c in own]))]
    if len(by_fold) < 2:
        return 0
    for number_of_line, own in enumerate(drawn):
        axes.plot(*_curve(own), color=BLUE, alpha=0.35, linewidth=0.8, label=None if number_of_line else "single folds")
    return len(drawn)


def _mark(axes: Axes, tss: dict[str, Any]) -> None:
    for place, (name, point) in enumerate(tss["operating_points"].items()):
        sensitivity, specificity = (point["pooled"][rate]["value"] for rate in ("SEN", "SPE"))
        if sensitivity is None or specificity is None:
            continue
        colour, marker = MARKS[place % len(MARKS)]
        label = f"{operating_point(name)}: SEN {number(sensitivity)}, SPE {number(specificity)}"
        axes.plot(
            1 - specificity, sensitivity, marker, color=colour, markersize=10, markeredgecolor="white",
            linestyle="none", label=label, zorder=5 + place,
        )  # fmt: skip
