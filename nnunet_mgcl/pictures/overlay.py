"""Images with the outlines of reference and prediction, for people to look at.

Volumes are drawn as radiologists see them where their direction is known: axial slices from below, the patient's front
on top and their right side left, with voxels as large as they are.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from nnunet_mgcl.pictures.case_panels import CasePanels, Panel
from nnunet_mgcl.pictures.grey_window import grey_window
from nnunet_mgcl.pictures.image_figure import image_figure
from nnunet_mgcl.pictures.slice_choice import largest_slice, name_slice
from nnunet_mgcl.pictures.slices import draw_outline, draw_slice, name_sides
from nnunet_mgcl.system.files import replacing

REFERENCE_COLOUR, PREDICTION_COLOUR = "#00a8ff", "#ff8c00"  # blue and orange: told apart by colour-blind people
TARGET_COLOURS = (REFERENCE_COLOUR, PREDICTION_COLOUR, "#f0e442", "#f28cc8", "#00d19a", "#ffffff")
"""Of a panel's targets where it has several: then only the line tells reference and prediction apart."""
LINES: dict[str, Any] = {"reference": "solid", "prediction": "dashed"}
HEADROOM = 0.2
"""Kept above the brightest healthy tissue, as a share of the window: a lesion is brighter."""
TITLE_INCHES, LINE_INCHES = 0.28, 0.155
"""Height of a case's title, and of a line above a panel."""
TITLE_LETTER_INCHES, LETTER_INCHES, SMALL_LETTER_INCHES = 0.1, 0.083, 0.066
"""Width of a letter, on average: of the picture's title, of a heading, and of what stands over a panel."""
MOST_LINES = 3
"""That a name may take."""
COLUMNS = 4
"""Panels of a case in a row, at most: what is smaller nobody can read."""


def draw_overlay(path: Path, cases: Sequence[CasePanels], title: str) -> None:
    """Draws `overlay_figure` into a file."""
    with rc_context({"text.parse_math": False}):  # a $ in a name is a $
        width = 3.2 * min(COLUMNS, max(len(case.panels) for case in cases))
        figure = overlay_figure(cases, width)
        lines = _wrapped(title, width, TITLE_LETTER_INCHES)
        figure.set_figheight(figure.get_figheight() + TITLE_INCHES * (1 + lines.count("\n")))
        figure.suptitle(lines)
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=110)


def overlay_figure(cases: Sequence[CasePanels], width: float) -> Figure:
    """A picture with a row a case, and a panel a modality.

    The panels of a case show the same slice (`largest_slice`).

    Args:
        cases: What to draw.
        width: Of the figure, in inches.
    """
    columns = min(COLUMNS, max(len(case.panels) for case in cases))
    heights: list[float] = []
    headings = [_heading(case, width) for case in cases]
    titles = [[_wrapped(panel.title, width / columns, SMALL_LETTER_INCHES) for panel in case.panels] for case in cases]
    for case, heading, own in zip(cases, headings, titles, strict=True):
        one = _aspect(case) * width / columns + (1 + max(title.count("\n") for title in own)) * LINE_INCHES
        heights += [TITLE_INCHES + LINE_INCHES * heading.count("\n"), *[one] * math.ceil(len(own) / columns)]
    figure = image_figure(width, sum(heights) + 0.5)
    grid, row = GridSpec(len(heights), columns, figure, height_ratios=heights), 0
    for case, heading, own in zip(cases, headings, titles, strict=True):
        above = figure.add_subplot(grid[row, :])
        above.text(0, 0.15, heading, weight="bold", va="bottom", fontsize="medium")
        above.axis("off")
        for number, (panel, title) in enumerate(zip(case.panels, own, strict=True)):
            axis = figure.add_subplot(grid[row + 1 + number // columns, number % columns])
            _draw_panel(axis, case, panel, largest_slice(case)[0])
            axis.set_title(title, fontsize="small")
        row += 1 + math.ceil(len(case.panels) / columns)
    add_legend(figure, cases)
    return figure


def _heading(case: CasePanels, width: float) -> str:
    """A case's title with the slice that is shown."""
    at, reason = largest_slice(case)
    first, *others = case.title.split("\n")
    return _wrapped("\n".join([f"{first} · {name_slice(case, at)} ({reason})", *others]), width)


def _wrapped(text: str, inches: float, letter: float = LETTER_INCHES) -> str:
    """Text of lines that are no longer than so many inches; what needs more than `MOST_LINES` lines is cut."""
    columns = max(int(inches / letter), 4)
    lines = [textwrap.fill(line, columns, max_lines=MOST_LINES, placeholder=" …") for line in text.split("\n")]
    return "\n".join(lines)


def add_legend(figure: Figure, cases: Sequence[CasePanels]) -> None:
    """Says what the outlines are."""
    panels = [panel for case in cases for panel in case.panels]
    several = next((panel.targets for panel in panels if len(panel.targets) > 1), ())
    colours = {"reference": REFERENCE_COLOUR, "prediction": PREDICTION_COLOUR}
    handles = [
        Line2D([], [], color="#808080" if several else colours[name], linestyle=LINES[name], label=name)
        for name in _outlined(panels)
    ]
    handles += [
        Line2D([], [], color=_target_colour(n), linewidth=4, label=_wrapped(name, figure.get_figwidth() / 2))
        for n, name in enumerate(several)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)


def outlines_in_words(panels: Sequence[Panel]) -> str:
    """The legend, for a caption."""
    if any(len(panel.targets) > 1 for panel in panels):
        return "; ".join([*(f"{LINES[name]}: {name}" for name in _outlined(panels)), "a colour for each target"])
    looks = {"reference": "solid blue", "prediction": "dashed orange"}
    return "; ".join(f"{looks[name]}: {name}" for name in _outlined(panels))


def _outlined(panels: Sequence[Panel]) -> list[str]:
    return ["reference", "prediction"] if any(panel.references for panel in panels) else ["prediction"]


def montage_figure(case: CasePanels, slices: Sequence[int], width: float) -> Figure:
    """A picture with a row a panel and a column a slice; arguments as above."""
    side = width / max(len(slices), 3)
    figure = image_figure(side * len(slices) + 0.3, side * _aspect(case) * len(case.panels) + 0.7)
    axes = figure.subplots(len(case.panels), len(slices), squeeze=False)
    for row, panel in zip(axes, case.panels, strict=True):
        for axis, at in zip(row, slices, strict=True):
            _draw_panel(axis, case, panel, at)
        row[0].set_ylabel(_wrapped(panel.title, side * _aspect(case)))
    for axis, at in zip(axes[0], slices, strict=True):
        axis.set_title(name_slice(case, at), fontsize="small")
    add_legend(figure, [case])
    return figure


def _draw_panel(axis: Axes, case: CasePanels, panel: Panel, at: int) -> None:
    """A slice of a panel with its outlines, and the letters of the sides where they are known."""
    size, several = case.spacing[1:], len(panel.targets) > 1
    low, high = grey_window(panel.image)
    high += HEADROOM * (high - low)
    draw_slice(axis, panel.image[at], size, vmin=low, vmax=high, interpolation="bilinear")
    for name, masks, colour in (
        ("reference", panel.references, REFERENCE_COLOUR),
        ("prediction", panel.predictions, PREDICTION_COLOUR),
    ):
        for number, mask in enumerate(masks):
            own = _target_colour(number) if several else colour
            draw_outline(axis, mask[at], size, own, linestyles=LINES[name])
    name_sides(axis, case.sides)
    rows, columns = case.frame()
    axis.set(xlim=columns, ylim=rows[::-1], facecolor="black")


def _target_colour(number: int) -> str:
    return TARGET_COLOURS[number % len(TARGET_COLOURS)]


def _aspect(case: CasePanels) -> float:
    """Height of a slice over its width."""
    rows, columns = case.frame()
    return (rows[1] - rows[0]) / (columns[1] - columns[0])
