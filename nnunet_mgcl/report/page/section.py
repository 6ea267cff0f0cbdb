"""What a report is made of. Whoever measures or draws something returns a section; the page only lays sections out."""

from __future__ import annotations

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
