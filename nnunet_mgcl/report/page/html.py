"""Sections as one HTML file that needs nothing else: no network, no script. The figures lie beside it, too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path

from nnunet_mgcl import __version__
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.runs.stored_evaluation import folds_suffix
from nnunet_mgcl.report.page.figure_files import remove_pictures, write_pictures
from nnunet_mgcl.report.page.section import Section
from nnunet_mgcl.system.files import remove_leftovers_of, write_text
from nnunet_mgcl.system.pages import filled_in

NARROW = 32 * 16 / 96
"""Inches (32rem): a wider picture scrolls on a phone."""


def report_folder(run: ValidatedRun) -> Path:
    """`report` in the results folder, named after the folds where they are not all."""
    return run.model / f"report{folds_suffix(run.some_folds)}"


def write_report(path: Path, title: str, run: ValidatedRun, sections: Sequence[Section]) -> Path:
    """Writes the figures and then the page; returns the page.

    Figures of an earlier page in its place that this one does not have are removed.

    Args:
        path: The page; the figures are written to `figures/` beside it.
        title: Its heading.
        run: What it is about.
        sections: Its content.
    """
    notices = ["Research only; no clinical use"]
    if "phantom" in run.dataset_json:  # mgcl phantom wrote the dataset
        notices.append("Synthetic data: no patients")
    images = write_pictures(path.parent, sections)
    if path.is_file():
        remove_pictures(path.parent, picture_names(path.read_text(encoding="utf-8", errors="replace")) - images.keys())
    remove_leftovers_of(path)
    write_text(path, report_page(title, notices, sections, images))
    return path


def report_page(title: str, notices: Sequence[str], sections: Sequence[Section], images: Mapping[str, str]) -> str:
    """The page.

    Args:
        title: Its heading.
        notices: What nobody may miss, above everything.
        sections: Its content, in this order.
        images: The `data:` URI of each picture, by name.
    """
    content = {"title": title, "notices": notices, "sections": sections, "images": images}
    return filled_in("report/page/report.html", **content, narrow=NARROW, version=__version__)


def picture_names(page: str) -> set[str]:
    """Names of the pictures on a page that `report_page` has made."""
    return {unescape(name) for name in re.findall(r'<img data-name="([^"]+)"', page)}
