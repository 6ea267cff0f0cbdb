"""What a report is made of. Whoever measures or draws something returns a section; the page only lays sections out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from nnunet_mgcl.report.page.wording import WORDS
from nnunet_mgcl.system.pages import paragraphs


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

    @classmethod
    def of(cls, name: str, figure: Figure, words: str, *, drawing: bool = True, **content: Any) -> Picture:
        """A picture whose caption and description are the two paragraphs of a block of prose (see `Section.of`)."""
        caption, alt = _prose(words, content)
        return cls(name, figure, caption, alt, drawing)


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

    @classmethod
    def of(
        cls, title: str, words: str, *, pictures: Sequence[Picture] = (), folded: bool = False, **content: Any
    ) -> Section:
        """A section whose paragraphs and tables come from a template.

        Args:
            title: As above.
            words: A text file of the report and a block in it: `patient/words/volumes`. `table(caption, *columns)`
                begins a table there, and `row(*cells)` a row of it; `columns` and `cells` add to these.
            pictures: As above.
            folded: As above.
            content: What the block names, beside the functions and names of `WORDS`.
        """
        begun: list[tuple[str, list[str], list[list[str]]]] = []
        actions = {
            "table": lambda caption, *columns: begun.append((caption.replace("\n", " "), list(columns), [])),
            "columns": lambda *columns: begun[-1][1].extend(columns),
            "row": lambda *cells: begun[-1][2].append([str(cell) for cell in cells]),
            "cells": lambda *cells: begun[-1][2][-1].extend(map(str, cells)),
        }
        text = _prose(words, actions | content)
        tables = [Table(caption, tuple(columns), tuple(map(tuple, rows))) for caption, columns, rows in begun]
        return cls(title, tuple(text), tuple(tables), tuple(pictures), folded)


def _prose(words: str, content: dict[str, Any]) -> list[str]:
    file, block = words.rsplit("/", 1)
    return paragraphs(f"report/{file}.txt", block, WORDS | content)


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether most of a column's cells are numbers rather than words."""
    filled = [cell for cell in cells if cell and cell != "undefined"]
    return 2 * sum(bool(re.fullmatch(r"[-+]?\d[^a-z]*( to [^a-z]*)?\)?", cell)) for cell in filled) >= len(filled)
