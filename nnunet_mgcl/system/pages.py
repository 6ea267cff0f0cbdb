"""HTML pages and prose, filled in by jinja2; on a page whatever a user wrote is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_TEMPLATES = Environment(
    loader=PackageLoader("nnunet_mgcl", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_PROSE = _TEMPLATES.overlay(autoescape=False, extensions=["jinja2.ext.do"])


def filled_in(template: str, **content: Any) -> str:
    """A page that needs no network and no script.

    Args:
        template: Its template's path inside the package; it extends `system/page.html`.
        content: What the template names.
    """
    return _TEMPLATES.get_template(template).render(content)


def paragraphs(template: str, block: str, content: Mapping[str, Any]) -> list[str]:
    """Plain text, a line each paragraph.

    Args:
        template: Its template's path inside the package; empty lines separate the paragraphs.
        block: Which part of it.
        content: What the block names.
    """
    prose = _PROSE.get_template(template)
    text = "".join(prose.blocks[block](prose.new_context(dict(content)))).strip()
    return [" ".join(lines.split("\n")) for lines in re.split(r"\n{2,}", text) if lines]
