from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from nnunet_mgcl.report.page.html import picture_names, report_page
from nnunet_mgcl.report.page.section import Picture, Section, Table

VOID = {"meta", "img", "br", "link"}
ODD = "<i>&\"'</i>"
ROWS = (("row", "12", "word", "0.5 ± 0.1"), ("other", "3", "", "undefined"))
TABLE = Table("A table", ("", "n", "what", "value"), ROWS)
PICTURE = Picture("a_picture", Figure(figsize=(4, 3)), "What it shows", "What is seen")
WIDE = Picture("wide", Figure(figsize=(7.2, 3)), "Wide", "Wide")
IMAGES = {"a_picture": "data:image/png;base64,AAAA", "wide": "data:image/png;base64,BBBB"}


class Reader(HTMLParser):
    """Every element with its attributes, and those that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attributes) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(*sections: Section, title="A title", notices=("Research only",)) -> Reader:
    reader = Reader()
    reader.feed(report_page(title, notices, sections, IMAGES))
    reader.close()
    return reader


def test_all_elements_are_closed_in_order() -> None:
    page = read(Section("One", ("Text",), (TABLE,), (PICTURE, WIDE)), Section("Two", folded=True))
    assert not page.open
    assert page.elements[0][0] == "html"


def test_nothing_is_loaded_from_anywhere_else() -> None:
    html = report_page("Title", ["Notice"], [Section("One", ("Text",), (TABLE,), (PICTURE,))], IMAGES)
    assert not re.search(r"https?:|//\w|url\(|@import|<script|<link|<iframe", html)
    sources = re.findall(r'\b(?:src|href)="([^"]*)"', html)
    assert sources and all(source.startswith(("data:", "#")) for source in sources)
    assert "default-src 'none'" in html


def test_what_users_write_is_escaped_everywhere() -> None:
    table = Table(ODD, (ODD, ODD), ((ODD, ODD),))
    picture = Picture("a_picture", Figure(), ODD, ODD)
    page = read(Section(ODD, (ODD,), (table,), (picture,)), title=ODD, notices=(ODD,))
    assert not page.all("i")
    assert page.text.count(ODD) == 13
    assert page.all("img")[0]["alt"] == ODD


def test_contents_lead_to_every_section() -> None:
    page = read(Section("One"), Section("Two", folded=True))
    assert [a["href"] for a in page.all("a")] == [f"#{s['id']}" for s in page.all("section")] == ["#s1", "#s2"]


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        (("0.844 (0.812 to 0.871)", "undefined"), True),
        (("0.812 to 0.871",), True),
        (("-1.5",), True),
        (("1, 3, 5",), True),
        (("2d", "MGCLPlans"), False),
        (("5 validated, of 24 labelled",), False),
    ],
)
def test_what_counts_as_a_column_of_numbers(cells, right) -> None:
    page = read(Section("One", tables=(Table("", ("", "x"), tuple(("row", cell) for cell in cells)),)))
    assert (page.all("td")[0].get("class") == "number") is right


def test_only_wide_pictures_keep_their_size_on_a_phone() -> None:
    page = read(Section("One", pictures=(PICTURE, WIDE)))
    assert [figure.get("class") for figure in page.all("figure")] == [None, "large"]
    assert [figure["style"] for figure in page.all("figure")] == ["width: 4.00in", "width: 7.20in"]


def test_a_page_knows_its_pictures() -> None:
    odd = Picture(ODD, Figure(), '<img data-name="other">', '<img data-name="other">')
    sections = [Section("One", ('<img data-name="other">',), (), (PICTURE, WIDE)), Section("Two", pictures=(odd,))]
    assert picture_names(report_page("Title", [], sections, IMAGES | {ODD: "data:"})) == {"a_picture", "wide", ODD}
