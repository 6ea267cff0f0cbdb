"""Images with the outlines of reference and prediction, for people to look at.

Volumes are drawn as radiologists see them where their direction is known: axial slices from below, the patient's front
on top and their right side left, with voxels as large as they are.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from nnunet_mgcl.files import replacing
from nnunet_mgcl.grey_window import grey_window, tissue

REFERENCE_COLOUR, PREDICTION_COLOUR = "#00a8ff", "#ff8c00"  # blue and orange: told apart by colour-blind people
MARGIN_MM = 8.0
"""Around the head; what is beyond is not shown."""
HEADROOM = 0.2
"""Kept above the brightest healthy tissue, as a share of the window: a lesion is brighter."""
TITLE_INCHES, LINE_INCHES = 0.24, 0.155
"""Height of a case's title, and of a line above a panel."""
LETTER_INCHES, SMALL_LETTER_INCHES = 0.083, 0.066
"""Width of a letter, on average: of a heading, and of what stands over a panel."""
MOST_LINES = 3
"""That a name may take."""
COLUMNS = 4
"""Panels of a case in a row, at most: what is smaller nobody can read."""


@dataclass(frozen=True)
class Panel:
    """One image of a case.

    Attributes:
        title: What is shown.
        image: `(Z, Y, X)`.
        references: `(Z, Y, X)` bool, one a target; none where no reference is known.
        predictions: `(Z, Y, X)` bool, one a target.
    """

    title: str
    image: np.ndarray
    references: Sequence[np.ndarray]
    predictions: Sequence[np.ndarray]


@dataclass(frozen=True)
class CasePanels:
    """What is drawn of one case.

    Attributes:
        title: Its name, and what there is to say about it.
        panels: Its images, on one grid.
        spacing: Of a voxel, `(z, y, x)` in mm.
        sides: What is left and right in a slice (`AnatomicalView.sides`); None where it is not known.
    """

    title: str
    panels: Sequence[Panel]
    spacing: tuple[float, ...]
    sides: tuple[str, str] | None

    @property
    def slices(self) -> int:
        """How many there are."""
        return len(self.panels[0].image)

    def lesion(self, *, predicted: bool) -> np.ndarray:
        """Lesion voxels of each slice, of all panels together."""
        masks = [m for panel in self.panels for m in (panel.predictions if predicted else panel.references)]
        return np.sum([mask.sum(axis=(1, 2)) for mask in masks], axis=0) if masks else np.zeros(self.slices, int)

    def lesion_share(self, *, predicted: bool) -> np.ndarray:
        """The share of each panel's lesion that lies in each slice, summed over the panels: small lesions count too."""
        shares = np.zeros(self.slices)
        for panel in self.panels:
            voxels = sum(m.sum(axis=(1, 2)) for m in (panel.predictions if predicted else panel.references))
            shares += voxels / max(np.sum(voxels), 1)
        return shares

    def frame(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The part of the rows and of the columns that is shown, in mm from the first voxel's edge: head and lesions.

        Pictures of unknown sides may show anything; they are shown whole.
        """
        (low_row, high_row), (low_column, high_column) = (self._extent(axis) for axis in (1, 2))
        return (low_row, high_row), (low_column, high_column)

    def _extent(self, axis: int) -> tuple[float, float]:
        size, voxels = self.spacing[axis], self.panels[0].image.shape[axis]
        if self.sides is None:
            return 0.0, voxels * size
        others = tuple({0, 1, 2} - {axis})
        shown = np.zeros(voxels, bool)
        for panel in self.panels:
            profile = tissue(panel.image).sum(axis=others)
            shown |= profile > 0.1 * profile.max()
            for mask in (*panel.references, *panel.predictions):
                shown |= mask.any(axis=others)
        where = np.flatnonzero(shown) if shown.any() else np.arange(voxels)
        return max(where[0] * size - MARGIN_MM, 0.0), min((where[-1] + 1) * size + MARGIN_MM, voxels * size)


def largest_slice(case: CasePanels) -> tuple[int, str]:
    """The slice with most reference voxels, else with most predicted ones, else the middle; and which it is."""
    for predicted, reason in ((False, "largest reference"), (True, "no reference, largest prediction")):
        if (voxels := case.lesion(predicted=predicted)).any():
            return int(voxels.argmax()), reason
    return case.slices // 2, "no lesion, middle"


def name_slice(case: CasePanels, at: int) -> str:
    """How a slice is called; radiologists' slices are counted from below."""
    return f"slice {at + 1} of {case.slices}"


def draw_overlay(path: Path, cases: Sequence[CasePanels], title: str) -> None:
    """Draws `overlay_figure` into a file."""
    with rc_context({"text.parse_math": False}):  # a $ in a name is a $
        figure = overlay_figure(cases, width=3.2 * min(COLUMNS, max(len(case.panels) for case in cases)))
        figure.suptitle(title)
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
    figure = Figure(figsize=(width, sum(heights) + 0.5), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0, wspace=0)  # type: ignore[union-attr, call-arg]
    grid, row = GridSpec(len(heights), columns, figure, height_ratios=heights), 0
    for case, heading, own in zip(cases, headings, titles, strict=True):
        above = figure.add_subplot(grid[row, :])
        above.text(0, 0, heading, weight="bold", va="bottom", fontsize="medium")
        above.axis("off")
        for number, (panel, title) in enumerate(zip(case.panels, own, strict=True)):
            axis = figure.add_subplot(grid[row + 1 + number // columns, number % columns])
            draw_slice(axis, case, panel, largest_slice(case)[0])
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
    handles = [Line2D([], [], color=PREDICTION_COLOUR, linestyle="--", label="prediction")]
    if any(panel.references for case in cases for panel in case.panels):
        handles.insert(0, Line2D([], [], color=REFERENCE_COLOUR, label="reference"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)


def montage_figure(case: CasePanels, slices: Sequence[int], width: float) -> Figure:
    """A picture with a row a panel and a column a slice; arguments as above."""
    side = width / max(len(slices), 3)
    size = (side * len(slices) + 0.3, side * _aspect(case) * len(case.panels) + 0.7)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0, wspace=0)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(len(case.panels), len(slices), squeeze=False)
    for row, panel in zip(axes, case.panels, strict=True):
        for axis, at in zip(row, slices, strict=True):
            draw_slice(axis, case, panel, at)
        row[0].set_ylabel(_wrapped(panel.title, side * _aspect(case)))
    for axis, at in zip(axes[0], slices, strict=True):
        axis.set_title(name_slice(case, at), fontsize="small")
    add_legend(figure, [case])
    return figure


def montage_slices(case: CasePanels, most: int = 5) -> list[int]:
    """Slices evenly through the reference lesion (without one, the predicted lesion), with the largest one.

    Slices with less than a quarter of the largest one's lesion are left out: specks would take the lesion's place.
    Where places are left, slices with most prediction follow. Without any lesion: the middle half.
    """
    reference, prediction = case.lesion_share(predicted=False), case.lesion_share(predicted=True)
    lesion = reference if reference.any() else prediction
    if not lesion.any():
        there = np.arange(case.slices // 4, max(case.slices // 4 + 1, case.slices - case.slices // 4))
        return _evenly(there, most)
    chosen = set(_evenly(np.flatnonzero(lesion >= lesion.max() / 4), most))
    largest = int(lesion.argmax())
    if largest not in chosen:
        chosen.remove(min(chosen, key=lambda at: abs(at - largest)))
        chosen.add(largest)
    others = [int(at) for at in np.argsort(-prediction, kind="stable") if prediction[at] and at not in chosen]
    return sorted([*chosen, *others[: most - len(chosen)]])


def _evenly(slices: np.ndarray, most: int) -> list[int]:
    return sorted({int(slices[int(i)]) for i in np.linspace(0, len(slices) - 1, min(most, len(slices)))})


def draw_slice(axis: Axes, case: CasePanels, panel: Panel, at: int) -> None:
    """Draws a slice of a panel with its outlines, and the letters of the sides where they are known."""
    image, (height, width) = panel.image[at], case.spacing[1:]
    low, high = grey_window(panel.image)
    high += HEADROOM * (high - low)
    extent = (0, image.shape[1] * width, image.shape[0] * height, 0)
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
    for masks, colour, style in (
        (panel.references, REFERENCE_COLOUR, "solid"),
        (panel.predictions, PREDICTION_COLOUR, "dashed"),
    ):
        for mask in masks:
            _outline(axis, mask[at], (height, width), colour, style)
    for side, place, align in zip(case.sides or (), (0.02, 0.98), ("left", "right"), strict=False):
        axis.text(place, 0.5, side, transform=axis.transAxes, ha=align, va="center", color="white", fontsize="small")
    rows, columns = case.frame()
    axis.set(xlim=columns, ylim=rows[::-1], xticks=[], yticks=[], facecolor="black")


def _outline(axis: Axes, mask: np.ndarray, size: tuple[float, float], colour: str, style: str) -> None:
    if not mask.any():
        return
    padded = np.pad(mask, 1)  # closes what ends at the image's edge
    y, x = ((np.arange(n) - 0.5) * mm for n, mm in zip(padded.shape, size, strict=True))
    axis.contour(x, y, padded, levels=[0.5], colors=colour, linestyles=style, linewidths=1.1)


def _aspect(case: CasePanels) -> float:
    """Height of a slice over its width."""
    rows, columns = case.frame()
    return (rows[1] - rows[0]) / (columns[1] - columns[0])
