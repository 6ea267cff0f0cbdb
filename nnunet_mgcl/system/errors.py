"""The one exception for mistakes that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def some(names: Sequence[str]) -> str:
    """The first three of many names, for a message."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def counted(count: int, noun: str) -> str:
    """`1 case`, `12 cases`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def suggestion(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A remedy for a misspelt word; `otherwise` (or all known ones) where none is like it."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else otherwise or f"use one of {list(known)}"


class UserError(SystemExit):
    """Ends the program with one clear message and exit status 1.

    It derives from `SystemExit` so that nnU-Net's own commands, which know nothing of this plugin, print the
    message instead of a traceback. Worker processes must return it as a value: `multiprocessing.Pool` does not
    hand a `SystemExit` back to its parent.

    Args:
        where: The file, key or case that is wrong.
        found: What is there.
        expected: What should be there.
        remedy: What the user can do.
    """

    def __init__(self, where: object, found: str, expected: str, remedy: str) -> None:
        self.where, self.found, self.expected, self.remedy = str(where), found, expected, remedy
        super().__init__(
            f"\nnnunet_mgcl: {self.where}\n  found:    {found}\n  expected: {expected}\n  remedy:   {remedy}"
        )

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str, str]]:
        return UserError, (self.where, self.found, self.expected, self.remedy)


def reason(error: Exception) -> str:
    """The last line of another library's error, which says most; its type where it says nothing."""
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
