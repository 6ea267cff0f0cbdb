"""The report in headless Chromium: nothing is loaded, nothing is cut off, on a phone, a desktop and paper."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from nnunet_mgcl import cli
from nnunet_mgcl.report.page.html import report_page
from nnunet_mgcl.report.page.section import Picture, Section, Table

REQUIRED = os.environ.get("MGCL_TEST_BROWSER") == "required"
"""Set by continuous integration: a browser that is missing is a failure."""
if REQUIRED:
    import playwright.sync_api as playwright
else:
    playwright = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PHONE, DESKTOP = 390, 1280


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        installed = [path for name in BROWSERS if (path := shutil.which(name))]
        executable = Path(installed[0] if installed else running.chromium.executable_path)
        if not executable.is_file():
            (pytest.fail if REQUIRED else pytest.skip)("no Chromium is installed")
        browser = running.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def report(make_run, dataset, few_resamples) -> Path:
    """The report of a model with TSS hours, so that every figure is there."""
    rows = [f"case_{i:02},{i % 2 * 9}" for i in range(14)]
    (dataset / "tss.csv").write_text("\n".join(["case,tss_hours", *rows, ""]))
    model = make_run()
    cli.main(["report", "-d", "901", "-c", "2d"])
    return model / "report" / "index.html"


def test_it_opens_alone_and_fits_every_width(browser, report) -> None:
    for width in (PHONE, DESKTOP):
        page = browser.new_page(viewport={"width": width, "height": 800})
        complaints: list[str] = []
        page.on("console", lambda message, to=complaints: to.append(f"console: {message.text}"))
        page.on("pageerror", lambda error, to=complaints: to.append(f"error: {error}"))
        page.on("request", lambda request, to=complaints: to.append(request.url))
        page.goto(report.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        loaded = [url for url in complaints if not url.startswith("data:")]
        assert loaded == [report.as_uri()]
        images = page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.alt.length > 0])")
        assert len(images) >= 5 and all(complete and natural > 0 and alt for complete, natural, alt in images)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            "[...document.querySelectorAll('p, h1, h2, img, figcaption, li')].filter("
            "e => e.getBoundingClientRect().right > innerWidth && !e.closest('.wide')).map(e => e.outerHTML)"
        )
        assert not outside
        if width == DESKTOP:
            boxes = "[...document.querySelectorAll('.wide')]"
            assert not page.evaluate(f"{boxes}.filter(e => e.scrollWidth > e.clientWidth).map(e => e.outerHTML)")
        page.close()


def test_paper_shows_what_is_folded_and_wide(browser, report) -> None:
    page = browser.new_page(viewport={"width": 680, "height": 960})  # A4 without its margins
    page.goto(report.as_uri())
    folded = page.locator("details table")
    assert folded.count() and not folded.first.is_visible()
    page.emulate_media(media="print")
    assert all(folded.nth(i).is_visible() for i in range(folded.count()))
    assert page.evaluate("document.documentElement.scrollWidth") <= 680
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()


@pytest.fixture
def long_names(tmp_path) -> Path:
    """A page with a table of long names and a figure that a phone does not hold."""
    table = Table("Table", ("", "n" * 88, "value"), (("row" * 30, "1", "w" * 88),))
    picture = Picture("wide", Figure(figsize=(7.2, 1)), "Caption", "alt")
    path = tmp_path / "long.html"
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
    path.write_text(report_page("Title", [], [Section("One", (), (table,), (picture,))], {"wide": pixel}))
    return path


def test_names_without_a_break_fit_on_paper(browser, long_names) -> None:
    page = browser.new_page(viewport={"width": 680, "height": 960})
    page.goto(long_names.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 680
    page.close()


@pytest.mark.parametrize("width", [320, PHONE, 542, 546, DESKTOP])
def test_figures_that_scroll_say_so(browser, long_names, width) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(long_names.as_uri())
    scrolls = page.evaluate("(box => box.scrollWidth > box.clientWidth)(document.querySelector('figure .wide'))")
    hint = page.evaluate("getComputedStyle(document.querySelector('figcaption'), '::before').content")
    assert ("Scroll" in hint) == scrolls == (width < 544)
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('figcaption'), '::before').content") == "none"
    page.close()
