"""The phases' curves as one picture, `phases/progress.png`."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunet_mgcl.system.files import is_there, read_json, replacing, write_json

SECONDS_BETWEEN_DRAWINGS = 30
STYLE = ("default", "tableau-colorblind10", {"text.parse_math": False})
"""nnU-Net's logger sets matplotlib's global style to large fonts for its own picture; a $ in a name is a $."""

BESIDE = ("--", ":")
"""Styles of the thin lines beside a curve."""


class Curves:
    """One curve a branch and one panel a phase; the numbers lie in `curves.json`, so that a resumed run has all."""

    def __init__(self, path: Path) -> None:
        self.path, self._numbers = path, path.with_name("curves.json")
        self._panels: dict[str, dict[str, Any]] = read_json(self._numbers) if is_there(self._numbers) else {}
        self._drawn = time.monotonic()

    def update(
        self,
        phase: str,
        branch: str,
        values: list[float],
        *,
        finished: bool,
        axes: tuple[str, str] = ("epoch", "training loss"),
        at: list[int] | None = None,
        beside: dict[str, list[float]] | None = None,
    ) -> None:
        """Takes a branch's values so far and redraws, but not more often than a person would look.

        Args:
            phase: Title of the panel.
            branch: Name of the curve.
            values: What is drawn.
            finished: Whether this is the whole curve; it is then drawn at once.
            axes: What is counted and what is measured.
            at: Where each value is drawn; None: at 1, 2, ...
            beside: Thin lines that belong to the curve, e.g. between which values it can lie.
        """
        panel = self._panels.setdefault(phase, {"axes": list(axes), "curves": {}})
        panel["curves"][branch] = list(values)
        if at is not None:
            panel.setdefault("at", {})[branch] = list(at)
        if beside:
            panel.setdefault("beside", {})[branch] = beside
        write_json(self._numbers, self._panels)
        if finished or time.monotonic() - self._drawn > SECONDS_BETWEEN_DRAWINGS:
            self._drawn = time.monotonic()
            with style.context(STYLE):
                self._draw()

    def take_over(self, other: Path) -> None:
        """Adds the panels of another run, by the path of its picture."""
        for phase, panel in Curves(other)._panels.items():
            for branch, values in panel["curves"].items():
                beside, at = (panel.get(key, {}).get(branch) for key in ("beside", "at"))
                axes = (panel["axes"][0], panel["axes"][1])
                self.update(phase, branch, values, finished=True, axes=axes, at=at, beside=beside)

    def _draw(self) -> None:
        columns = min(3, len(self._panels))
        rows = math.ceil(len(self._panels) / columns)
        figure = Figure(figsize=(4.5 * columns, 3.2 * rows), layout="constrained")
        names = [name for panel in self._panels.values() for name in panel["curves"]]
        colours = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(names))}
        for place, (phase, panel) in enumerate(self._panels.items(), start=1):
            _draw_panel(figure.add_subplot(rows, columns, place), phase, panel, colours)
        with replacing(self.path) as temporary:
            figure.savefig(temporary, dpi=100)


def places(panel: dict[str, Any], branch: str) -> list[int]:
    """Where the values of a branch's curve are drawn."""
    return panel.get("at", {}).get(branch) or list(range(1, len(panel["curves"][branch]) + 1))


def _draw_panel(axes: Axes, phase: str, panel: dict[str, Any], colours: dict[str, str]) -> None:
    for branch, values in panel["curves"].items():
        marker = "." if len(values) < 30 else None
        axes.plot(places(panel, branch), values, marker=marker, label=branch, color=colours[branch])
        for style_, line in zip(BESIDE, panel.get("beside", {}).get(branch, {}).values(), strict=False):
            axes.plot(range(1, len(line) + 1), line, color=colours[branch], linestyle=style_, linewidth=0.7)
    axes.set_title(phase)
    axes.set_xlabel(panel["axes"][0])
    axes.set_ylabel(panel["axes"][1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    counted_to = [at for branch in panel["curves"] for at in places(panel, branch)] or [1]
    axes.set_xlim(min(counted_to) - 0.5, max(counted_to) + 0.5)  # one epoch would stand between fractions of it
    axes.ticklabel_format(useOffset=False)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
