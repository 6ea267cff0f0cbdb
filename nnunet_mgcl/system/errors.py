"""The one exception for mistakes that a user can mend, and the words that its messages share."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

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
    known = list(known)
    names = {name.lower(): name for name in known}
    close = [names[own] for own in difflib.get_close_matches(word.lower(), names, n=1)]
    return f"did you mean {close[0]!r}?" if close else otherwise or f"use one of {known}"


class UserError(Exception):
    """A mistake that the user can mend: of four parts, which a message shows.

    Args:
        where: The file, key or case that is wrong.
        found: What is there.
        expected: What should be there.
        remedy: What the user can do.
    """

    def __init__(self, where: object, found: str, expected: str, remedy: str) -> None:
        super().__init__(str(where), found, expected, remedy)  # what it is made from again in another process
        self.where, self.found, self.expected, self.remedy = str(where), found, expected, remedy

    def __str__(self) -> str:
        return (
            f"\nnnunet_mgcl: {self.where}\n  found:    {self.found}\n  expected: {self.expected}\n"
            f"  remedy:   {self.remedy}"
        )


def check_known(names: Iterable[str], known: Collection[str], where: str, expected: str) -> None:
    """Refuses a name that is not known, with the one that may have been meant.

    Raises:
        UserError: There is such a name.
    """
    for name in names:
        if name not in known:
            raise UserError(where, repr(name), expected, suggestion(name, known))


@contextmanager
def ending_with_one_message() -> Iterator[None]:
    """Ends the program with a `UserError`'s message on stderr and exit status 1: around a command and nnU-Net's hooks.

    Raises:
        SystemExit: In place of a `UserError`.
    """
    try:
        yield
    except UserError as error:
        raise SystemExit(str(error)) from error


def reason(error: Exception) -> str:
    """The last line of another library's error, which says most; its type where it says nothing."""
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
