"""A figure that images fill."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from nnunet_mgcl.system.errors import UserError


def image_figure(width: float, height: float) -> Figure:
    """An empty white figure, sizes in inches, whose panels stand close together."""
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, hspace=0, wspace=0)
    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def require_format(path: Path) -> None:
    """Checks, before the work, that a picture can be written under a name.

    Raises:
        UserError: Its ending is no picture's.
    """
    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in known:
        raise UserError(
            path, f"the ending {path.suffix!r}", f"one of {', '.join(known)}", "choose another, as in -o x.png"
        )
