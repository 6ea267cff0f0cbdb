"""The reliability diagram: what was predicted against what happened."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunet_mgcl.report.page.section import Picture
from nnunet_mgcl.report.page.style import BLUE, GREY, HALF_WIDTH, VERMILION, figure_style

KINDS = {"raw": (BLUE, "o", -0.009), "calibrated": (VERMILION, "s", 0.009)}
"""Colour, marker and a shift that keeps the intervals apart."""


def reliability_picture(reliability: dict[str, list[dict[str, Any]]]) -> Picture:
    """Frequency of positive cases in each bin over their mean probability, and how many cases the bins have.

    Args:
        reliability: The bins of the `raw` and the `calibrated` probabilities; those without cases are not drawn.
    """
    drawn = {kind: [b for b in bins if b["cases"]] for kind, bins in reliability.items()}
    drawn = {kind: bins for kind, bins in drawn.items() if bins}
    with figure_style():
        figure = Figure(figsize=(HALF_WIDTH, 5.3))
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 1], [0, 1], ":", color=GREY, linewidth=1, label="perfect")
        width = 0.09 / len(drawn)
        for place, (kind, bins) in enumerate(drawn.items()):
            _draw(top, kind, bins)
            shift = (place - (len(drawn) - 1) / 2) * width
            look = {"color": KINDS[kind][0], "hatch": "///" if place else None, "edgecolor": "white"}
            bottom.bar([(b["low"] + b["high"]) / 2 + shift for b in bins], [b["cases"] for b in bins], width, **look)
        top.set(ylabel="frequency of TSS < 4.5 h", ylim=(-0.03, 1.03), title="Reliability")
        bottom.set(xlabel="predicted probability", ylabel="cases", xlim=(-0.03, 1.03))
        bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        top.grid(alpha=0.25)
        figure.legend(loc="outside lower center", ncols=3)
    totals = {kind: sum(b["cases"] for b in bins) for kind, bins in drawn.items()}
    counts = " and ".join(f"{total} {kind}" for kind, total in totals.items())
    noun = "probability" if list(totals.values()) == [1] else "probabilities"
    caption = (
        f"{counts} {noun} in bins of 0.1: on the dotted line they mean what they say. Bars: 95 % Wilson intervals, "
        "wide where a bin has few cases; below, how many it has."
    )
    off = {kind: max(abs(b["mean_probability"] - b["frequency"]) for b in bins) for kind, bins in drawn.items()}
    far = " ".join(f"{kind}: {len(drawn[kind])} bins, at most {most:.2f} off the line." for kind, most in off.items())
    return Picture("tss_reliability", figure, caption, f"Reliability diagram. {far}")


def _draw(axes: Axes, kind: str, bins: list[dict[str, Any]]) -> None:
    colour, marker, shift = KINDS[kind]
    x, y = (np.array([b[key] for b in bins]) for key in ("mean_probability", "frequency"))
    low, high = np.array([b["ci95"] for b in bins]).T
    axes.vlines(x + shift, low, high, color=colour, linewidth=1)
    axes.plot(x + shift, y, color=colour, marker=marker, linewidth=1, label=kind)
