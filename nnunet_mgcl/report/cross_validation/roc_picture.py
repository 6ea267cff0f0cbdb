"""The ROC curve of the TSS classification."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

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
    area = f"AUROC {with_interval(tss['measures']['pooled']['AUROC'])}"
    by_fold = [[case for case in cases if case["fold"] == fold] for fold in {case["fold"] for case in cases}]
    several = len(by_fold) > 1
    curves = [fold for fold in by_fold if several and len({case["tss_class"] for case in fold}) == 2]
    with figure_style():
        figure = Figure(figsize=(HALF_WIDTH, 5.3))
        axes = figure.add_subplot(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=f"ROC curve of TSS < 4.5 h (n = {len(cases)})")
        axes.plot([0, 1], [0, 1], ":", color=GREY, linewidth=1, label="chance")
        for place, fold in enumerate(curves):
            axes.plot(*_curve(fold), color=BLUE, alpha=0.35, linewidth=0.8, label=None if place else "single folds")
        axes.plot(*_curve(cases), color=BLUE, linewidth=2, label=f"all cases, {area}")
        _mark(axes, tss)
        axes.grid(alpha=0.25)
        figure.legend(loc="outside lower center")
    single = f"; thin lines: single folds ({len(curves)} of them have both classes)" if curves else ""
    caption = (
        f"Out-of-fold predictions of {counted(len(cases), 'case')}, {tss['positive']} of them positive{single}. Every "
        "fold's cases are judged at a threshold that was chosen without them, so a mark need not lie on the curve of "
        "all cases."
    )
    if several:
        caption += (
            " The AUROC of all cases compares probabilities of different folds' models: most pairs are of two folds."
        )
    return Picture("tss_roc", figure, caption, f"ROC curve with {area}.")


def _curve(cases: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    classes, probabilities = ([case[key] for case in cases] for key in ("tss_class", "probability"))
    return roc_curve(classes, probabilities, drop_intermediate=False)[:2]


def _mark(axes: Axes, tss: dict[str, Any]) -> None:
    for place, (name, point) in enumerate(tss["operating_points"].items()):
        sensitivity, specificity = (point["pooled"][rate]["value"] for rate in ("SEN", "SPE"))
        if sensitivity is None or specificity is None:
            continue
        colour, marker = MARKS[place % len(MARKS)]
        label = f"{operating_point(name)}: SEN {number(sensitivity)}, SPE {number(specificity)}"
        look = {"color": colour, "marker": marker, "markersize": 10, "markeredgecolor": "white", "linestyle": "none"}
        axes.plot(1 - specificity, sensitivity, label=label, zorder=5 + place, **look)
