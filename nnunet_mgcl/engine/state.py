"""Which parts of the cascade are done: `phases/state.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from nnunet_mgcl.system.files import is_there, write_json
from nnunet_mgcl.system.typed_json import read_typed


@dataclass
class _Current:
    part: str
    finished_epochs: int


@dataclass
class _State:
    done: list[str]
    skipped: list[str]
    current: _Current | None


class PhaseState:
    """Remembers finished parts, `phase` or `phase/branch`, and the epoch that is under way.

    Args:
        path: `phases/state.json`.
        writes: False on all ranks but the first.

    Raises:
        UserError: The file is none that this class wrote.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        remedy = "move the fold's folder away and train the fold again"
        self._state = read_typed(_State, path, remedy) if is_there(path) else _State([], [], None)

    def is_done(self, phase: str, branch: str | None = None) -> bool:
        """Whether a part was finished, in this run or an earlier one."""
        return _part(phase, branch) in self._state.done

    def mark_done(self, phase: str, branch: str | None = None) -> None:
        """Notes that a part is finished and its result lies on disk."""
        self._state.done.append(_part(phase, branch))
        self._state.current = None
        self._write()

    def is_skipped(self, phase: str, branch: str) -> bool:
        """Whether a part had nothing to learn from, so that its result is what it began with."""
        return _part(phase, branch) in self._state.skipped

    def mark_skipped(self, phase: str, branch: str) -> None:
        """Notes that a part has nothing to learn from."""
        self._state.skipped.append(_part(phase, branch))

    def skipped(self) -> list[str]:
        """The parts that had nothing to learn from."""
        return list(self._state.skipped)

    def forget(self, phase: str) -> None:
        """Notes that a phase has to be done again in every branch."""
        kept = [part for part in self._state.done if part.split("/")[0] != phase]
        if kept != self._state.done:
            self._state.done = kept
            self._write()

    def mark_epoch(self, phase: str, branch: str | None, epoch: int) -> None:
        """Notes that an epoch is finished (for people: the resume point itself is in the checkpoint)."""
        self._state.current = _Current(_part(phase, branch), epoch)
        self._write()

    def described(self) -> str:
        """What is done and what is under way, in words."""
        done, current = self._state.done, self._state.current
        under_way = f", {current.part} after epoch {current.finished_epochs}" if current else ""
        return f"{len(done)} parts are done" + (f" (the last one is {done[-1]})" if done else "") + under_way

    def _write(self) -> None:
        if self.writes:
            write_json(self.path, asdict(self._state))


def _part(phase: str, branch: str | None) -> str:
    return f"{phase}/{branch}" if branch else phase
