"""Sections as one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape, unescape

from nnunet_mgcl import __version__
from nnunet_mgcl.report.page.section import Picture, Section, Table

NARROW = 32 * 16 / 96
"""Inches (32rem): a wider picture is not shrunk to a phone, where nobody could read it, but scrolls in its box."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What the page may load: nothing but the pictures it holds."""
STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 66rem;
  padding: 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0; }
p { max-width: 46rem; margin: .6rem 0; }
section { border-top: 1px solid #ccc; margin-top: 2rem; padding-top: 1.2rem; }
.notices { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .5rem; }
.notices li { border: 2px solid #8a5a00; background: #fff6e0; border-radius: .3rem; padding: .15rem .6rem;
  font-weight: 600; }
nav ol { columns: 18rem; margin: .3rem 0; padding-left: 1.6rem; }
a { color: #00548a; }
.wide { overflow-x: auto; margin: 0 0 1rem; }
.table { background: linear-gradient(90deg, #fff 1.5rem, #fff0) left / 3rem 100% local,
  linear-gradient(-90deg, #fff 1.5rem, #fff0) right / 3rem 100% local,
  linear-gradient(90deg, #0003, #0000) left / .6rem 100% scroll,
  linear-gradient(-90deg, #0003, #0000) right / .6rem 100% scroll;
  background-repeat: no-repeat; } /* a shadow where there is more to scroll to */
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
.caption { font-size: .95rem; margin: 1.4rem 0 .3rem; }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd;
  overflow-wrap: normal; }
th:first-child { padding-left: 0; }
thead th { border-bottom: 2px solid #555; vertical-align: bottom; }
th { min-width: 4rem; }
tbody th { font-weight: 400; min-width: 7rem; }
.number { text-align: right; }
.long { min-width: 16rem; }
td.number { white-space: nowrap; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; }
figure { margin: .5rem 0; max-width: 100%; }
figure .wide { margin: 0; }
figure img { display: block; width: 100%; height: auto; }
figure.large img { min-width: 32rem; }
figcaption { font-size: .9rem; color: #444; margin-top: .3rem; }
summary { cursor: pointer; }
summary h2 { display: inline; }
footer { border-top: 1px solid #ccc; margin-top: 2rem; font-size: .9rem; color: #444; }
@media screen and (max-width: 33.99rem) { /* narrower than a large figure and the margins */
  figure.large figcaption::before { content: "Scroll the figure sideways."; display: block; font-style: italic; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  a { color: inherit; text-decoration: none; }
  .wide { overflow: visible; }
  table { font-size: 8pt; }
  th, td { min-width: 0; padding: .15rem .35rem; overflow-wrap: anywhere; }
  tbody th { min-width: 4rem; }
  td.number { white-space: normal; }
  .long { min-width: 0; }
  .table { background: none; }
  figure, tr { break-inside: avoid; }
  figure:not(.large) { max-width: 47%; }
  figure.large img { min-width: 0; }
  h2, .caption { break-after: avoid; }
  details::details-content { display: block; content-visibility: visible; height: auto; }
  summary { list-style: none; }
}
"""


def report_page(title: str, notices: Sequence[str], sections: Sequence[Section], images: Mapping[str, str]) -> str:
    """The page.

    Args:
        title: Its heading.
        notices: What nobody may miss, above everything.
        sections: Its content, in this order.
        images: The `data:` URI of each picture, by name.
    """
    contents = "".join(f'<li><a href="#s{i}">{escape(s.title)}</a></li>' for i, s in enumerate(sections, start=1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<ul class="notices">{"".join(f"<li>{escape(notice)}</li>" for notice in notices)}</ul>
<nav aria-label="Contents"><ol>{contents}</ol></nav>
</header>
<main>
{"".join(_section(f"s{i}", section, images) for i, section in enumerate(sections, start=1))}</main>
<footer><p>Written by mgcl report, nnunet_mgcl {escape(__version__)}. {escape(". ".join(notices))}.</p></footer>
</body>
</html>
"""


def picture_names(page: str) -> set[str]:
    """Names of the pictures on a page that `report_page` has made."""
    return {unescape(name) for name in re.findall(r'<img data-name="([^"]+)"', page)}


def _section(anchor: str, section: Section, images: Mapping[str, str]) -> str:
    heading = f"<h2>{escape(section.title)}</h2>"
    paragraphs = "".join(f"<p>{escape(text)}</p>\n" for text in section.text)
    tables = "".join(map(_table, section.tables))
    pictures = "".join(_picture(picture, images[picture.name]) for picture in section.pictures)
    content = f'{paragraphs}{tables}<div class="pictures">{pictures}</div>' if pictures else paragraphs + tables
    if section.folded:
        inner = f"<details>\n<summary>{heading}</summary>\n{content}\n</details>"
    else:
        inner = f"{heading}\n{content}"
    return f'<section id="{anchor}">\n{inner}\n</section>\n'


_LONG = ' class="long"'
"""Of a cell with sentences: where the window is narrow the table is to scroll, and not to have one word a line."""


def _table(table: Table) -> str:
    right = [_holds_numbers([row[i] for row in table.rows]) for i in range(1, len(table.columns))]
    number = ["", *(' class="number"' if numeric else "" for numeric in right)]
    headings = "".join(f'<th scope="col"{n}>{escape(c)}</th>' for c, n in zip(table.columns, number, strict=True))
    head = f"<thead><tr>{headings}</tr></thead>\n" if any(table.columns) else ""
    body = ""
    for row in table.rows:
        cells = "".join(
            f"<td{n or _LONG * (len(cell) > 60)}>{escape(cell)}</td>"
            for cell, n in zip(row[1:], number[1:], strict=True)
        )
        body += f'<tr><th scope="row">{escape(row[0])}</th>{cells}</tr>\n'
    caption = escape(table.caption)
    lead, colon, rest = caption.partition(": ")
    return (  # no <caption>: it would be cut off where a wide table scrolls
        f'<p class="caption"><b>{lead}</b>{colon}{rest}</p>\n'
        f'<div class="wide table" tabindex="0" role="region" aria-label="{caption}">'
        f'<table aria-label="{caption}">\n{head}<tbody>\n{body}</tbody>\n</table></div>\n'
    )


def _holds_numbers(cells: Sequence[str]) -> bool:
    """Whether most of a column's cells are numbers rather than words."""
    filled = [cell for cell in cells if cell and cell != "undefined"]
    return 2 * sum(bool(re.fullmatch(r"[-+]?\d[^a-z]*( to [^a-z]*)?\)?", cell)) for cell in filled) >= len(filled)


def _picture(picture: Picture, uri: str) -> str:
    width = picture.figure.get_figwidth()
    kind = ' class="large"' if width > NARROW else ""
    box = f' tabindex="0" role="region" aria-label="{escape(picture.name)}"' if kind else ""
    return (
        f'<figure{kind} style="width: {width:.2f}in"><div class="wide"{box}>'
        f'<img data-name="{escape(picture.name)}" src="{uri}" alt="{escape(picture.alt)}"></div>\n'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>\n"
    )
