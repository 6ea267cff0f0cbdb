"""One slice of a brain with something drawn over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from nnunet_mgcl.pictures.overlay import REFERENCE_COLOUR


def draw_slice(axis: Axes, plane: np.ndarray, aspect: float, darkest: float = 0.0) -> None:
    """Draws a slice in grey.

    Args:
        axis: Where.
        plane: `(rows, columns)`.
        aspect: Height of a voxel over its width.
        darkest: The grey of the background, from 0 (black) to 1; a lighter one leaves a map over it its colours.
    """
    low, high = np.percentile(plane, (1, 99.5))
    span = max(high - low, 1e-6)
    image = np.clip((plane - low) / span, 0, 1) * (1 - darkest) + darkest
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, aspect=aspect)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def draw_map(axis: Axes, values: np.ndarray, scale: ScalarMappable, aspect: float) -> None:
    """Lays a map `(rows, columns)` over a slice, in the colours of a scale."""
    axis.imshow(scale.to_rgba(values), alpha=0.55, aspect=aspect)


def draw_outline(axis: Axes, mask: np.ndarray) -> None:
    """Draws the outline of a reference `(rows, columns)` bool, if any of it is in the slice."""
    if mask.any() and not mask.all():
        padded = np.pad(mask, 1).astype(float)  # closes outlines at the border
        rows, columns = (np.arange(-1, side + 1) for side in mask.shape)
        axis.contour(columns, rows, padded, levels=[0.5], colors=REFERENCE_COLOUR, linewidths=1.1)
        axis.set_xlim(-0.5, mask.shape[1] - 0.5)
        axis.set_ylim(mask.shape[0] - 0.5, -0.5)


def name_sides(axis: Axes, sides: tuple[str, str] | None) -> None:
    """Writes what is left and right into a slice; nothing where it is not known."""
    for side, at in zip(sides or (), (0.03, 0.97), strict=False):
        align = "left" if at < 0.5 else "right"
        text = axis.text(at, 0.97, side, transform=axis.transAxes, ha=align, va="top", fontsize=7)
        _lighten(text)


def write_value(axis: Axes, mask: np.ndarray, value: str) -> None:
    """Writes a value into the middle of a part `(rows, columns)` bool of a slice."""
    row, column = np.argwhere(mask).mean(axis=0)
    _lighten(axis.text(column, row, value, ha="center", va="center", fontsize=6))


def explain_outline(figure: Figure, lesions: Sequence[np.ndarray]) -> None:
    """Adds the legend of `draw_outline`, if any of the shown lesions `(rows, columns)` bool has an outline."""
    if not any(lesion.any() for lesion in lesions):
        return
    handle = Line2D([], [], color=REFERENCE_COLOUR, linewidth=1.1, label="outline of the reference lesion")
    figure.legend(handles=[handle], loc="outside lower center", fontsize="small")


def _lighten(text: Text) -> None:
    """White letters, readable on every ground."""
    text.set(color="white", path_effects=[withStroke(linewidth=1, foreground="#222222")])
