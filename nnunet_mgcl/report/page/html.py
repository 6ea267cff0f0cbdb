"""Sections as one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import unescape

from nnunet_mgcl import __version__
from nnunet_mgcl.report.page.section import Section
from nnunet_mgcl.system.pages import filled_in

NARROW = 32 * 16 / 96
"""Inches (32rem): a wider picture scrolls on a phone."""


def report_page(title: str, notices: Sequence[str], sections: Sequence[Section], images: Mapping[str, str]) -> str:
    """The page.

    Args:
        title: Its heading.
        notices: What nobody may miss, above everything.
        sections: Its content, in this order.
        images: The `data:` URI of each picture, by name.
    """
    return filled_in(
        "report/page/report.html",
        title=title,
        notices=notices,
        sections=sections,
        images=images,
        narrow=NARROW,
        version=__version__,
    )


def picture_names(page: str) -> set[str]:
    """Names of the pictures on a page that `report_page` has made."""
    return {unescape(name) for name in re.findall(r'<img data-name="([^"]+)"', page)}
