"""The predicted probability of TSS < 4.5 h over the true hours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nnunet_mgcl.data.tss_table import TSS_WINDOW_HOURS
from nnunet_mgcl.report.page.section import Picture
from nnunet_mgcl.report.page.style import GREY, HALF_WIDTH, NEGATIVE, POSITIVE, figure_style
from nnunet_mgcl.system.errors import counted

TICKS = (0, 1, TSS_WINDOW_HOURS, 9, 16, 24, 48, 96, 168)
KINDS = ((1, "TSS < 4.5 h", POSITIVE, "o"), (0, "TSS ≥ 4.5 h", NEGATIVE, "^"))


def hours_picture(cases: list[dict[str, Any]], hours: Mapping[str, float | None]) -> Picture:
    """A point a case.

    Args:
        cases: Those with a probability and a known TSS.
        hours: The TSS of each; None where only its class is known, which is not drawn.
    """
    known = {case: value for case, value in hours.items() if value is not None}
    drawn = [case for case in cases if case["case"] in known]
    with figure_style():
        figure = Figure(figsize=(HALF_WIDTH, 3.6))
        axes = figure.add_subplot(xlabel="true TSS (hours)", ylabel="predicted probability of TSS < 4.5 h")
        for value, label, colour, marker in KINDS:
            points = [(known[c["case"]], c["probability"]) for c in drawn if c["tss_class"] == value]
            x, y = np.reshape(points, (-1, 2)).T
            label = f"{label} (n = {len(points)})"
            axes.plot(x, y, marker, color=colour, alpha=0.75, markeredgewidth=0, label=label)
        axes.axvline(TSS_WINDOW_HOURS, color=GREY, linewidth=1, linestyle="--")
        axes.axhline(0.5, color=GREY, linewidth=1, linestyle=":")
        axes.set_xscale("function", functions=(_root, np.square))  # early hours apart, and a place for 0
        longest = max(12.0, 1.05 * max(known.values()))
        axes.set(xlim=(0, longest), ylim=(-0.03, 1.03), title="Probability over the true TSS")
        shown = [tick for tick in TICKS if tick <= longest]
        axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
        figure.legend(loc="outside lower center", ncols=2)
    caption = (
        f"Raw out-of-fold probability of {counted(len(drawn), 'case')} whose hours are known. Dashed: 4.5 h; dotted: "
        "the threshold 0.5. The hours are spaced by their square root. "
        "A perfect model has its circles above and its triangles below the dotted line."
    )
    right = sum((case["probability"] >= 0.5) == (case["tss_class"] == 1) for case in drawn)
    alt = f"Scatter plot: {right} of {counted(len(drawn), 'case')} lie on the right side of the threshold 0.5."
    return Picture("tss_hours", figure, caption, alt)


def _root(hours: np.ndarray) -> np.ndarray:
    """Square root; matplotlib also asks left of 0, where nothing is."""
    return np.sqrt(np.maximum(hours, 0))
