"""A figure that images fill."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine


def image_figure(width: float, height: float) -> Figure:
    """An empty white figure, sizes in inches, whose panels stand close together."""
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, hspace=0, wspace=0)
    return Figure(figsize=(width, height), layout=layout, facecolor="white")
