"""Where two nested values differ, in words for a message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NAMED = 3
"""Differences that a message names."""
SHORT = 40
"""Longest value that a message shows, in characters."""


def differences(before: Any, now: Any) -> str | None:
    """Names the first differences of two JSON-like values, or None where they are equal.

    Args:
        before: What was.
        now: What is.
    """
    found = list(_differences(before, now, ""))
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return "; ".join(found[:NAMED]) + more if found else None


def _differences(before: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            inner = f"{path}.{key}" if path else str(key)
            if key not in now:
                yield f"{inner} is gone"
            elif key not in before:
                yield f"{inner} is new"
            else:
                yield from _differences(before[key], now[key], inner)
    elif before != now:
        name = path or "it"
        is_short = max(len(str(before)), len(str(now))) <= SHORT
        yield f"{name} was {before}, is {now}" if is_short else f"{name} has changed"
