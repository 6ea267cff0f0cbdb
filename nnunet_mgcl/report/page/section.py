"""What a report is made of. Whoever measures or draws something returns a section; the page only lays sections out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """One figure of the report.

    Attributes:
        name: Stem of its files, `figures/<name>.png` and, where it is a drawing, `.svg`.
        figure: What is drawn.
        caption: What it shows, in a sentence or two; plain text.
        alt: What somebody who cannot see it has to know, in a sentence.
        drawing: Whether it consists of lines and letters (shown as SVG) rather than of images (shown as PNG).
    """

    name: str
    figure: Figure
    caption: str
    alt: str
    drawing: bool = True


@dataclass(frozen=True)
class Table:
    """One table, all cells as they are read. The first column names the row; numbers stand right in the others."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers; the first one never does."""
        return [i > 0 and _are_numbers([row[i] for row in self.rows]) for i in range(len(self.columns))]


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        title: Its heading.
        text: Paragraphs before the tables and pictures; also why something is not there.
        tables: Its tables.
        pictures: Its figures.
        folded: Whether a reader has to open it (long listings); printing opens it.
    """

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    folded: bool = False


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether most of a column's cells are numbers rather than words."""
    filled = [cell for cell in cells if cell and cell != "undefined"]
    return 2 * sum(bool(re.fullmatch(r"[-+]?\d[^a-z]*( to [^a-z]*)?\)?", cell)) for cell in filled) >= len(filled)
