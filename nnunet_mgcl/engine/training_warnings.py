"""What went wrong in training without ending it: `phases/warnings.json`, the log, `mgcl summary` and the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, read_json, write_json


@dataclass(frozen=True)
class TrainingWarning:
    """One thing that went wrong.

    Attributes:
        phase: Where.
        branch: Where, or the head in `tss`.
        message: What was found, and where it helps what was expected.
        remedy: What the user can do.
    """

    phase: str
    branch: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.phase} {self.branch}: {self.message}; remedy: {self.remedy}"


class TrainingWarnings:
    """The warnings of a fold.

    Args:
        path: `phases/warnings.json`; there is none as long as there is no warning.
        log: Takes a line.
        writes: False on all ranks but the first.
    """

    def __init__(self, path: Path, log: Callable[[str], Any], writes: bool = True) -> None:
        self.path, self.log, self.writes = path, log, writes
        self._warnings = read_warnings(path)

    def of(self, phase: str, branch: str) -> list[TrainingWarning]:
        """What is known of a phase and a branch."""
        return [own for own in self._warnings if (own.phase, own.branch) == (phase, branch)]

    def replace(self, phase: str, branch: str, found: Sequence[TrainingWarning]) -> None:
        """Takes a phase's warnings about a branch in the place of its earlier ones; logs those that are new.

        Args:
            phase: The phase that has just been done.
            branch: The branch, or the head in `tss`.
            found: Its warnings; none, where all is well.
        """
        for warning in found:
            if warning not in self._warnings:
                self.log(f"WARNING {warning}")
        kept = [own for own in self._warnings if own not in self.of(phase, branch)]
        if [*kept, *found] != self._warnings:
            self._warnings = [*kept, *found]
            if self.writes:
                write_json(self.path, [asdict(own) for own in self._warnings])


def read_warnings(path: Path) -> list[TrainingWarning]:
    """The warnings of a fold; none where there is no file.

    Raises:
        UserError: The file is none that `TrainingWarnings` wrote.
    """
    if not is_there(path):
        return []
    content = read_json(path)
    try:
        warnings = [TrainingWarning(**own) for own in content]
    except TypeError:
        warnings = [TrainingWarning(*[""] * 4)]
    if not all(value and isinstance(value, str) for own in warnings for value in asdict(own).values()):
        raise UserError(
            path, "not what a training writes", "a list of warnings", "remove the file; it influences no result"
        )
    return warnings
