"""The phases' learning curves as one picture, `phases/progress.png`."""

from __future__ import annotations

import math
import time
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunet_mgcl.files import read_json, replacing, write_json

SECONDS_BETWEEN_DRAWINGS = 30
STYLE = ("default", "tableau-colorblind10")
"""nnU-Net's logger sets matplotlib's global style to large fonts for its own picture."""


class Curves:
    """Mean training loss an epoch, of every phase and branch; kept in `curves.json` so that a resumed run has all."""

    def __init__(self, path: Path) -> None:
        self.path, self._numbers = path, path.with_name("curves.json")
        self._losses: dict[str, dict[str, list[float]]] = read_json(self._numbers) if self._numbers.is_file() else {}
        self._drawn = time.monotonic()

    def update(self, phase: str, branch: str, losses: list[float], finished: bool) -> None:
        """Takes a branch's losses so far and redraws, but not more often than a person would look."""
        self._losses.setdefault(phase, {})[branch] = list(losses)
        write_json(self._numbers, self._losses)
        if finished or time.monotonic() - self._drawn > SECONDS_BETWEEN_DRAWINGS:
            self._drawn = time.monotonic()
            with style.context(STYLE):
                self._draw()

    def _draw(self) -> None:
        columns = min(3, len(self._losses))
        rows = math.ceil(len(self._losses) / columns)
        figure = Figure(figsize=(4.5 * columns, 3.2 * rows), layout="constrained")
        for place, (phase, branches) in enumerate(self._losses.items(), start=1):
            axes = figure.add_subplot(rows, columns, place)
            for branch, losses in branches.items():
                axes.plot(range(1, len(losses) + 1), losses, marker="." if len(losses) < 30 else None, label=branch)
            axes.set_title(phase)
            axes.set_xlabel("epoch")
            axes.set_ylabel("training loss")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
        with replacing(self.path) as temporary:
            figure.savefig(temporary, dpi=100)
