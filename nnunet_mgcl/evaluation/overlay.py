"""Image, reference and prediction side by side, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nnunet_mgcl.files import replacing

REFERENCE_COLOUR, PREDICTION_COLOUR = "#00a8ff", "#ff8c00"  # blue and orange: told apart by colour-blind people


@dataclass(frozen=True)
class Panel:
    """One modality of one case.

    Attributes:
        title: What is shown.
        image: `(Z, Y, X)`.
        reference: `(Z, Y, X)` bool.
        prediction: `(Z, Y, X)` bool.
    """

    title: str
    image: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray


def draw_overlay(path: Path, rows: Sequence[tuple[str, Sequence[Panel]]], title: str) -> None:
    """Draws a picture with a row a case and a column a modality.

    Each panel shows the slice with the largest reference (of any modality of the case, so that the panels of a row
    show the same slice), with both outlines.
    """
    columns = max(len(panels) for _, panels in rows)
    figure = Figure(figsize=(3.4 * columns, 3.6 * len(rows) + 0.8), layout="constrained")
    axes = np.array(figure.subplots(len(rows), columns, squeeze=False))
    for row, (case, panels) in zip(axes, rows, strict=True):
        at = largest_slice(panels)
        for axis, panel in zip(row, panels, strict=False):
            _draw_panel(axis, panel, at)
        row[0].set_ylabel(f"{case}\nslice {at + 1}", fontsize="small")
    figure.suptitle(title)
    handles = [
        Line2D([], [], color=REFERENCE_COLOUR, label="reference"),
        Line2D([], [], color=PREDICTION_COLOUR, linestyle="--", label="prediction"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def largest_slice(panels: Sequence[Panel]) -> int:
    """The slice with most reference voxels; where there is no reference, with most predicted ones."""
    for masks in ([panel.reference for panel in panels], [panel.prediction for panel in panels]):
        voxels = sum(mask.sum(axis=(1, 2)) for mask in masks)
        if voxels.any():
            return int(voxels.argmax())
    return len(panels[0].image) // 2


def _draw_panel(axis: Axes, panel: Panel, at: int) -> None:
    image = panel.image[at]
    low, high = np.percentile(image, (1, 99.5))
    axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    for mask, colour, style in (
        (panel.reference[at], REFERENCE_COLOUR, "solid"),
        (panel.prediction[at], PREDICTION_COLOUR, "dashed"),
    ):
        if mask.any():
            axis.contour(mask, levels=[0.5], colors=colour, linestyles=style, linewidths=1.4)
    axis.set_title(panel.title, fontsize="small")
    axis.set_xticks([])
    axis.set_yticks([])
