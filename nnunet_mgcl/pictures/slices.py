"""One slice of a volume: which one, how it is drawn, outlines on it, and the letters of its sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # matplotlib takes its time
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


def profile(volume: np.ndarray, axis: int) -> np.ndarray:
    """The sum of each slice of `(Z, Y, X)` across an axis."""
    return volume.sum(axis=tuple({0, 1, 2} - {axis}))


def fullest_slice(masks: Sequence[np.ndarray], axis: int = 0) -> int | None:
    """The slice across an axis with most voxels of all masks `(Z, Y, X)` together; None where they are empty."""
    voxels = sum(profile(mask, axis) for mask in masks)
    return int(np.argmax(voxels)) if np.any(voxels) else None


def draw_slice(axis: Axes, plane: np.ndarray, size: Sequence[float], **look: Any) -> AxesImage:
    """Draws a slice, in grey unless it has colours, from the axis's corner (0, 0), and nothing but it.

    Args:
        axis: Where.
        plane: `(rows, columns)`, or with colours `(rows, columns, 4)`.
        size: Height and width of a voxel, in mm.
        look: What matplotlib's `imshow` takes: `vmin`, `vmax`, `alpha`, and so on.
    """
    height, width = plane.shape[0] * size[0], plane.shape[1] * size[1]
    image = axis.imshow(plane, extent=(0, width, height, 0), **{"cmap": "gray"} | look)
    axis.set(xticks=[], yticks=[])
    axis.autoscale(False)
    return image


def draw_outline(
    axis: Axes, mask: np.ndarray, size: Sequence[float], colour: str, *, level: float | None = None, **line: Any
) -> None:
    """Draws the outline of a mask on its slice, closed at the slice's border; nothing of an empty one.

    Args:
        axis: Where `draw_slice` has drawn the slice.
        mask: `(rows, columns)` bool; or values, with `level`.
        size: As there.
        colour: Of the line.
        level: Draws where values reach it; such a line ends at the border.
        line: What matplotlib's `contour` takes: `linestyles`, `linewidths`, and so on.
    """
    padded = np.pad(mask, 1, mode="constant" if level is None else "edge")
    at = 0.5 if level is None else level
    if padded.min() < at < padded.max():
        y, x = ((np.arange(count) - 0.5) * side for count, side in zip(padded.shape, size, strict=True))
        axis.contour(x, y, padded, levels=[at], colors=colour, **{"linewidths": 1.1} | line)


def name_sides(axis: Axes, sides: tuple[str, str] | None, **text: Any) -> None:
    """Writes what is left and right into a slice; nothing where it is not known."""
    for side, x, align in zip(sides or (), (0.02, 0.98), ("left", "right"), strict=False):
        look = {"va": "center", "color": "white", "fontsize": "small"} | text
        axis.text(x, look.pop("y", 0.5), side, transform=axis.transAxes, ha=align, **look)
