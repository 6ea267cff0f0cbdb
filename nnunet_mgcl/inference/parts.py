"""The files of a prediction whose cases several processes share: each writes its own, the last one joins them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """One of these processes.

    Attributes:
        number: Which of them, from 0.
        total: How many there are; 1: nobody shares.
    """

    number: int = 0
    total: int = 1

    def file(self, joined: Path) -> Path:
        """Where it writes its share of a file such as `tss.csv`."""
        return joined if self.total == 1 else _share(joined, self.number)

    def all_files(self, joined: Path) -> list[Path]:
        """Where all of them do."""
        return [_share(joined, number) for number in range(self.total)]

    def earlier(self, joined: Path) -> list[Path]:
        """What earlier predictions left where it writes; one that is not shared does the work of all parts."""
        shares = [self.file(joined)] if self.total > 1 else sorted(joined.parent.glob(_share(joined, "*").name))
        return [path for path in (joined, *shares) if path.exists()]


def _share(joined: Path, number: int | str) -> Path:
    return joined.with_name(f"{joined.stem}_part{number}{joined.suffix}")
