"""The pictures of the TSS: ROC curve, reliability diagram, and the probability over the true hours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from nnunet_mgcl.data.tss_table import TSS_WINDOW_HOURS
from nnunet_mgcl.report.page import style
from nnunet_mgcl.report.page.section import Picture
from nnunet_mgcl.report.page.wording import number, operating_point, with_interval

MARKS = ((style.VERMILION, "o"), (style.GREEN, "D"), (style.ORANGE, "s"), (style.BLACK, "^"))
"""Colour and marker of the operating points."""
SERIES = {"raw": (style.BLUE, "o", -0.009), "calibrated": (style.VERMILION, "s", 0.009)}
"""Colour, marker and a shift that keeps the intervals apart."""
TICKS = (0, 1, TSS_WINDOW_HOURS, 9, 16, 24, 48, 96, 168)
CLASSES = ((1, "TSS < 4.5 h", style.POSITIVE, "o"), (0, "TSS ≥ 4.5 h", style.NEGATIVE, "^"))


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
    with style.figure_style():
        figure = Figure(figsize=(style.HALF_WIDTH, 5.3))
        axes = figure.add_subplot(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=f"ROC curve of TSS < 4.5 h (n = {len(cases)})")
        axes.plot([0, 1], [0, 1], ":", color=style.GREY, linewidth=1, label="chance")
        for place, fold in enumerate(curves):
            axes.plot(
                *_curve(fold), color=style.BLUE, alpha=0.35, linewidth=0.8, label=None if place else "single folds"
            )
        axes.plot(*_curve(cases), color=style.BLUE, linewidth=2, label=f"all cases, {area}")
        _mark(axes, tss)
        axes.grid(alpha=0.25)
        figure.legend(loc="outside lower center")
    words = {"cases": len(cases), "positive": tss["positive"], "curves": len(curves), "several": several, "area": area}
    return Picture.of("tss_roc", figure, "cross_validation/tss/roc", **words)


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
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markersize": 10,
            "markeredgecolor": "white",
            "linestyle": "none",
        }
        axes.plot(1 - specificity, sensitivity, label=label, zorder=5 + place, **look)


def reliability_picture(reliability: dict[str, list[dict[str, Any]]]) -> Picture:
    """Frequency of positive cases in each bin over their mean probability, and how many cases the bins have.

    Args:
        reliability: The bins of the `raw` and the `calibrated` probabilities; those without cases are not drawn.
    """
    drawn = {kind: [b for b in bins if b["cases"]] for kind, bins in reliability.items()}
    drawn = {kind: bins for kind, bins in drawn.items() if bins}
    with style.figure_style():
        figure = Figure(figsize=(style.HALF_WIDTH, 5.3))
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 1], [0, 1], ":", color=style.GREY, linewidth=1, label="perfect")
        width = 0.09 / len(drawn)
        for place, (kind, bins) in enumerate(drawn.items()):
            _draw_bins(top, kind, bins)
            shift = (place - (len(drawn) - 1) / 2) * width
            look = {"color": SERIES[kind][0], "hatch": "///" if place else None, "edgecolor": "white"}
            bottom.bar([(b["low"] + b["high"]) / 2 + shift for b in bins], [b["cases"] for b in bins], width, **look)
        top.set(ylabel="frequency of TSS < 4.5 h", ylim=(-0.03, 1.03), title="Reliability")
        bottom.set(xlabel="predicted probability", ylabel="cases", xlim=(-0.03, 1.03))
        bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        top.grid(alpha=0.25)
        figure.legend(loc="outside lower center", ncols=3)
    off = {kind: max(abs(b["mean_probability"] - b["frequency"]) for b in bins) for kind, bins in drawn.items()}
    return Picture.of("tss_reliability", figure, "cross_validation/tss/reliability", drawn=drawn, off=off)


def _draw_bins(axes: Axes, kind: str, bins: list[dict[str, Any]]) -> None:
    colour, marker, shift = SERIES[kind]
    x, y = (np.array([b[key] for b in bins]) for key in ("mean_probability", "frequency"))
    low, high = np.array([b["ci95"] for b in bins]).T
    axes.vlines(x + shift, low, high, color=colour, linewidth=1)
    axes.plot(x + shift, y, color=colour, marker=marker, linewidth=1, label=kind)


def hours_picture(cases: list[dict[str, Any]], hours: Mapping[str, float | None]) -> Picture:
    """A point a case.

    Args:
        cases: Those with a probability and a known TSS.
        hours: The TSS of each; None where only its class is known, which is not drawn.
    """
    known = {case: value for case, value in hours.items() if value is not None}
    drawn = [case for case in cases if case["case"] in known]
    with style.figure_style():
        figure = Figure(figsize=(style.HALF_WIDTH, 3.6))
        axes = figure.add_subplot(xlabel="true TSS (hours)", ylabel="predicted probability of TSS < 4.5 h")
        for value, label, colour, marker in CLASSES:
            points = [(known[c["case"]], c["probability"]) for c in drawn if c["tss_class"] == value]
            x, y = np.reshape(points, (-1, 2)).T
            label = f"{label} (n = {len(points)})"
            axes.plot(x, y, marker, color=colour, alpha=0.75, markeredgewidth=0, label=label)
        axes.axvline(TSS_WINDOW_HOURS, color=style.GREY, linewidth=1, linestyle="--")
        axes.axhline(0.5, color=style.GREY, linewidth=1, linestyle=":")
        axes.set_xscale("function", functions=(_root, np.square))  # early hours apart, and a place for 0
        longest = max(12.0, 1.05 * max(known.values()))
        axes.set(xlim=(0, longest), ylim=(-0.03, 1.03), title="Probability over the true TSS")
        shown = [tick for tick in TICKS if tick <= longest]
        axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
        figure.legend(loc="outside lower center", ncols=2)
    right = sum((case["probability"] >= 0.5) == (case["tss_class"] == 1) for case in drawn)
    return Picture.of("tss_hours", figure, "cross_validation/tss/hours", cases=len(drawn), right=right)


def _root(hours: np.ndarray) -> np.ndarray:
    """Square root; matplotlib also asks left of 0, where nothing is."""
    return np.sqrt(np.maximum(hours, 0))
