"""Slices of a brain side by side, with maps over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from nnunet_mgcl.pictures.overlay import REFERENCE_COLOUR
from nnunet_mgcl.pictures.slices import draw_outline, draw_slice, name_sides

LETTERS: dict[str, Any] = {"color": "white", "path_effects": [withStroke(linewidth=1, foreground="#222222")]}
"""Readable on every ground."""


@dataclass(frozen=True)
class BrainPanel:
    """One slice.

    Attributes:
        plane: `(rows, columns)`.
        lesion: The reference in it, bool.
        values: A map that is laid over it; None: none is.
    """

    plane: np.ndarray
    lesion: np.ndarray
    values: np.ndarray | None = None


def brain_grid(
    rows: Mapping[str, Sequence[BrainPanel]],
    titles: Sequence[str],
    size: Sequence[float],
    scale: ScalarMappable,
    sides: tuple[str, str] | None,
    *,
    width: float,
    darkest: float = 0.0,
) -> tuple[Figure, np.ndarray, Colorbar]:
    """Draws the slices with the outlines of their lesions.

    Args:
        rows: The panels of each row, by what stands beside it; all of one shape.
        titles: What stands above the columns.
        size: Height and width of a voxel.
        scale: The colours of the maps.
        sides: What is left and right, if known.
        width: Of the figure, in inches.
        darkest: The grey of the background, from 0 (black) to 1; a lighter one leaves a map over it its colours.

    Returns:
        The figure, its axes `(rows, columns)` and the bar of its colours.
    """
    panels = [panel for row in rows.values() for panel in row]
    height, columns = panels[0].plane.shape
    height *= width / len(titles) / columns * size[0] / size[1]
    figure = Figure(figsize=(width, height * len(rows) + 1.2))
    figure.set_layout_engine("compressed")
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for axis, panel in zip(axes.flat, panels, strict=True):
        _draw(axis, panel, size, scale, darkest)
    for axis, label in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(label)
        name_sides(axis, sides, y=0.93, fontsize=7, **LETTERS)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize="small")
    if any(panel.lesion.any() for panel in panels):
        handle = Line2D([], [], color=REFERENCE_COLOUR, linewidth=1.1, label="outline of the reference lesion")
        figure.legend(handles=[handle], loc="outside lower center", fontsize="small")
    return figure, axes, figure.colorbar(scale, ax=axes, location="bottom", shrink=0.55, aspect=35)


def _draw(axis: Axes, panel: BrainPanel, size: Sequence[float], scale: ScalarMappable, darkest: float) -> None:
    low, high = np.percentile(panel.plane, (1, 99.5))
    grey = np.clip((panel.plane - low) / max(high - low, 1e-6), 0, 1)
    draw_slice(axis, grey * (1 - darkest) + darkest, size, vmin=0, vmax=1)
    if panel.values is not None:
        draw_slice(axis, scale.to_rgba(panel.values), size, alpha=0.55)
    draw_outline(axis, panel.lesion, size, REFERENCE_COLOUR)
    axis.spines[:].set_visible(False)
