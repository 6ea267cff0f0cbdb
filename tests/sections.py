"""What is asked of every section of a report."""

from __future__ import annotations

import re

from matplotlib.text import Text

from nnunet_mgcl.report.page.section import Section
from nnunet_mgcl.report.page.style import figure_style


def words_of(section: Section) -> str:
    """Draws the figures, refuses what is no word and no number, and returns all that is written, in figures too."""
    texts = [section.title, *section.text]
    for table in section.tables:
        texts += [table.caption, *table.columns, *(cell for row in table.rows for cell in row)]
        assert all(len(row) == len(table.columns) for row in table.rows)
    for picture in section.pictures:
        with figure_style():
            picture.figure.draw_without_rendering()
        texts += [picture.caption, picture.alt, *(text.get_text() for text in picture.figure.findobj(Text))]
    for text in texts:
        assert not re.search(r"\b(nan|inf|None|null)\b|\{|\}", text), f"{section.title}: {text}"
    assert section.text or section.tables or section.pictures
    return "\n".join(texts)
