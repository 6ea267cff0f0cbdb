"""The page: order, numbers, links, and nothing that a name could break."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nnunet_mgcl.convert.output.record import CaseRecord, ChannelRecord, RegistrationRecord
from nnunet_mgcl.convert.quality.page import write_page

MOVED = RegistrationRecord("FLAIR", "sitk", 0.61, 0.8234, 31.25, 4.06)
CHANNELS = {
    "FLAIR": ChannelRecord((512, 512, 29), (0.449, 0.449, 5.0)),
    "DWI": ChannelRecord((112, 112, 73), (2.0, 2.0, 2.0), ("volume 2 of 2 taken",), MOVED),
}


class Checker(HTMLParser):
    """Collects links and cells, and sees that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def write(tmp_path):
    def call(records, failures=None) -> str:
        path: Path = tmp_path / "index.html"
        write_page(path, records, failures or {})
        text = path.read_text(encoding="utf-8")
        Checker(text)
        return text

    return call


def positions(text: str, *names: str) -> list[int]:
    return [text.index(f"<td>{name}") if f"<td>{name}" in text else text.index(f'">{name}') for name in names]


def test_who_has_to_be_looked_at_comes_first(write):
    records = [
        CaseRecord("a_fine", "Tr", channels=CHANNELS),
        CaseRecord("b_accepted", "Tr", channels=CHANNELS, doubts=("moved by 31.2 mm",), accepted=True),
        CaseRecord("c_waits", "Tr", channels=CHANNELS, doubts=("moved by 31.2 mm",)),
    ]
    text = write(records, {"d_failed": "not converted"})
    places = positions(text, "d_failed", "c_waits", "b_accepted", "a_fine")
    assert places == sorted(places)
    assert "2 converted, 1 waiting for a look, 1 failed" in text
    assert text.count("nowhere yet") == 1


def test_all_numbers_of_a_case_are_there(write):
    record = CaseRecord("a", "Un", channels=CHANNELS, lesion_ml={"DWI": 6.74, "PWI": 0.0}, tss_hours=3.26)
    text = re.sub(r"<[^>]+>", " ", write([record]))
    for part in (
        "pool", "512 &times; 512 &times; 29", "0.449 &times; 0.449 &times; 5", "0.610 &rarr; 0.823", "31.2", "4.1",
        "volume 2 of 2 taken", "DWI 6.7", "PWI 0.0", "3.3",
    ):  # fmt: skip
        assert part in text


def test_links_lead_to_pictures_beside_the_page_and_nowhere_else(write, tmp_path):
    picture = tmp_path / "cases" / "a.png"
    picture.parent.mkdir()
    picture.touch()
    text = write([CaseRecord("a", "Tr", channels=CHANNELS), CaseRecord("no_picture", "Tr", channels=CHANNELS)])
    assert Checker(text).links == ["cases/a.png", "cases/a.png"]
    assert "http" not in text and "<script" not in text


def test_names_are_text_whatever_they_hold(write):
    evil = "<b>&\"'"
    channels = {evil: ChannelRecord((1, 2, 3), (1.0, 1.0, 1.0), (evil,))}
    text = write([CaseRecord(evil, "Tr", channels=channels, lesion_ml={evil: 1.0}, doubts=(evil,))], {evil: evil})
    assert evil not in text
    assert text.count("&lt;b&gt;&amp;") == 7


def test_a_case_without_any_number_is_a_row_too(write):
    assert ">a</td>" in write([CaseRecord("a", "Tr")])
