"""Numbers as users type them in tables and flags: Python alone would read `1_0` as 10, and every script's digits."""

from __future__ import annotations


def number(text: str) -> float:
    """A number in ASCII digits.

    Raises:
        ValueError: It is none. `nan` and `inf` are numbers here: whoever reads them knows the limits.
    """
    return float(_plain(text))


def integer(text: str) -> int:
    """A whole number in ASCII digits.

    Raises:
        ValueError: It is none.
    """
    return int(_plain(text))


def _plain(text: str) -> str:
    if not text.isascii() or "_" in text:
        raise ValueError(f"no number in ASCII digits: {text!r}")
    return text
