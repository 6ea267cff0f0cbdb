"""Dice of every case over the volume of its lesion: small lesions are the hard ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from nnunet_mgcl.data.images.single_slice import NO_THICKNESS
from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.style import BLUE, GREY, HALF_WIDTH, VERMILION, figure_style
from nnunet_mgcl.report.page.wording import file_stem, number

WORDS = "cross_validation/segmentation"
CASES_A_BIN, MOST_BINS = 6, 5
"""Of the line of medians; fewer cases would make it a line through single cases."""


def volume_section(content: dict[str, Any]) -> Section:
    """A scatter plot a target; what cannot be on it (cases without lesion) in words."""
    targets, pictures = [], []
    for place, target in enumerate(content["segmentation"], start=1):
        scores = [case["targets"][target] for case in content["cases"]]
        volumes = [case for case in scores if case["volume_ml"] is not None]
        if drawn := [case for case in volumes if case["volume_ml"] > 0]:
            pictures.append(_picture(f"dice_per_volume_{file_stem(place, target)}", target, drawn))
        without = [case["predicted_volume_ml"] for case in volumes if case["volume_ml"] == 0]
        targets.append((target, volumes, drawn, without, [volume for volume in without if volume > 0]))
    words: dict[str, Any] = {"targets": targets, "NO_THICKNESS": NO_THICKNESS, "ml": _ml, "median": np.median}
    return Section.of("Dice per lesion volume", f"{WORDS}/dice_per_volume", pictures=pictures, **words)


def _ml(volume: float) -> str:
    return number(float(volume), "volume_difference_ml")


def _picture(name: str, target: str, cases: list[dict[str, Any]]) -> Picture:
    volumes, dice, predicted = (
        np.array([c[key] for c in cases]) for key in ("volume_ml", "dice", "predicted_volume_ml")
    )
    missed, line = predicted == 0, median_line(volumes, dice)
    with figure_style():
        figure = Figure(figsize=(HALF_WIDTH, 3.5))
        axes = figure.add_subplot(xlabel="lesion volume (ml)", ylabel="Dice", ylim=(-0.04, 1.04), xscale="log")
        axes.set_title(f"{target} (n = {len(cases)})")
        for those, marker, colour, label in (
            (~missed, "o", BLUE, "case"),
            (missed, "X", VERMILION, "case, nothing predicted"),
        ):
            if those.any():
                axes.plot(volumes[those], dice[those], marker, color=colour, alpha=0.7, markeredgewidth=0, label=label)
        if len(line):
            axes.plot(*line.T, "-s", color=GREY, markersize=4, markerfacecolor="white", label="median of neighbours")
        _number_volumes(axes)
        figure.legend(loc="outside lower center", ncols=2)
    words: dict[str, Any] = {"target": target, "volumes": volumes, "dice": dice, "ml": _ml, "median": np.median}
    words |= {"squares": len(line), "missed": int(missed.sum())}
    return Picture.of(name, figure, f"{WORDS}/dice_over_volume", **words)


def _number_volumes(axes: Axes) -> None:
    low, high = axes.get_xlim()
    if high / low < 8:  # similar volumes: their differences are not what matters
        low, high = axes.set_xlim(low / 3, high * 3)
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
    return np.array([(np.median(volumes[part]), np.median(dice[part])) for part in np.array_split(order, bins)])
