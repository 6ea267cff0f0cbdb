"""HTML pages, filled in by jinja2: whatever a user wrote is escaped."""

from __future__ import annotations

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


def filled_in(template: str, **content: Any) -> str:
    """A page that needs no network and no script.

    Args:
        template: Its template's path inside the package; it extends `system/page.html`.
        content: What the template names.
    """
    return _TEMPLATES.get_template(template).render(content)
