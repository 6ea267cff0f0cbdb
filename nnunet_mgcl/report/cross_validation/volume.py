"""Dice of every case over the volume of its lesion: small lesions are the hard ones."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from nnunet_mgcl.data.images.single_slice import NO_THICKNESS
from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.style import BLUE, GREY, HALF_WIDTH, VERMILION, figure_style
from nnunet_mgcl.report.page.wording import file_stem, number
from nnunet_mgcl.system.errors import counted

CASES_A_BIN, MOST_BINS = 6, 5
"""Of the line of medians; fewer cases would make it a line through single cases."""


def volume_section(content: dict[str, Any]) -> Section:
    """A scatter plot a target; what cannot be on it (cases without lesion) in words."""
    text, pictures = [], []
    for place, target in enumerate(content["segmentation"], start=1):
        cases = [own for case in content["cases"] if (own := case["targets"][target])["volume_ml"] is not None]
        if not cases:
            text.append(f"{target}: no volumes, the images are {NO_THICKNESS}.")
        drawn = [case for case in cases if case["volume_ml"] > 0]
        if drawn:
            pictures.append(_picture(f"dice_per_volume_{file_stem(place, target)}", target, drawn))
        text += _without_lesion(target, [case for case in cases if case["volume_ml"] == 0], bool(drawn))
    return Section("Dice per lesion volume", tuple(text), pictures=tuple(pictures))


def _without_lesion(target: str, cases: list[dict[str, Any]], drawn: bool) -> list[str]:
    """What was predicted where there was nothing to find."""
    if not cases:
        return []
    false = [case["predicted_volume_ml"] for case in cases if case["predicted_volume_ml"] > 0]
    median = f" (median {number(float(np.median(false)), 'volume_difference_ml')} ml)" if false else ""
    beginning = f"{target}: {counted(len(cases), 'case')} without lesion "
    beginning += "left out of the figure" if drawn else "and none with one, so there is no figure"
    return [f"{beginning}; a lesion was predicted in {len(false) or 'none'} of them{median}."]


def _picture(name: str, target: str, cases: list[dict[str, Any]]) -> Picture:
    volumes = np.array([case["volume_ml"] for case in cases])
    dice = np.array([case["dice"] for case in cases])
    missed = np.array([case["predicted_volume_ml"] == 0 for case in cases])
    with figure_style():
        figure = Figure(figsize=(HALF_WIDTH, 3.5))
        axes = figure.add_subplot()
        if not missed.all():
            axes.plot(volumes[~missed], dice[~missed], "o", color=BLUE, alpha=0.7, markeredgewidth=0, label="case")
        if missed.any():
            axes.plot(volumes[missed], dice[missed], "X", color=VERMILION, label="case, nothing predicted")
        line = median_line(volumes, dice)
        if len(line):
            axes.plot(*line.T, "-s", color=GREY, markersize=4, markerfacecolor="white", label="median of neighbours")
        _label(axes, target, len(cases))
        figure.legend(loc="outside lower center", ncols=2)
    caption = f"{target}: Dice of {counted(len(cases), 'case')} with a lesion over its volume in the reference mask."
    if len(line):
        caption += f" Each square is the median of {len(cases) // len(line)} or more cases of similar volume."
    alt = (
        f"Scatter plot of {target}: volumes from {number(float(volumes.min()), 'volume_difference_ml')} to "
        f"{number(float(volumes.max()), 'volume_difference_ml')} ml, median Dice {number(float(np.median(dice)))}, "
        f"{counted(int(missed.sum()), 'case')} without prediction."
    )
    return Picture(name, figure, caption, alt)


def _label(axes: Axes, target: str, count: int) -> None:
    axes.set(title=f"{target} (n = {count})", xlabel="lesion volume (ml)", ylabel="Dice", ylim=(-0.04, 1.04))
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high / low < 8:  # similar volumes: their differences are not what matters
        axes.set_xlim(low / 3, high * 3)
        low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.25)


def median_line(volumes: np.ndarray, dice: np.ndarray) -> np.ndarray:
    """Medians of equally many cases each, `(bins, 2)` of volume and Dice; none where there are too few cases."""
    bins = min(MOST_BINS, len(volumes) // CASES_A_BIN)
    if bins < 2:
        return np.empty((0, 2))
    order = np.argsort(volumes, kind="stable")
    edges = np.linspace(0, len(order), bins + 1).astype(int)
    parts = [order[low:high] for low, high in pairwise(edges)]
    return np.array([(np.median(volumes[part]), np.median(dice[part])) for part in parts])
