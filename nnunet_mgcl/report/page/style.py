"""How the report's figures look: one palette that colour-blind people can read, one size of letters."""

from __future__ import annotations

from contextlib import AbstractContextManager

from cycler import cycler
from matplotlib import style

WIDTH = 7.2
"""Inches of a figure over the whole page."""
HALF_WIDTH = 4.4
"""Inches of a figure of which two stand side by side; its letters can be read on a phone."""
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, GREY = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#666666",
)  # fmt: skip
"""After Okabe and Ito."""
BLACK = "#000000"
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, GREY)
POSITIVE, NEGATIVE = VERMILION, BLUE
"""Lesion, or TSS < 4.5 h; no lesion, or a later one. Always with another marker too."""


_SETTINGS = {
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "legend.frameon": False,
    "text.parse_math": False,  # a $ in a name is a $
    "svg.fonttype": "path",  # looks the same everywhere, offline
    "svg.hashsalt": "nnunet_mgcl",
}


def figure_style() -> AbstractContextManager[None]:
    """The settings under which every figure of the report is made and saved; nnU-Net's logger leaves others."""
    return style.context(("default", _SETTINGS))
