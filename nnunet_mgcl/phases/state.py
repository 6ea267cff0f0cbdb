"""Which parts of the cascade are done: `phases/state.json`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from nnunet_mgcl.config import MGCLConfig
from nnunet_mgcl.errors import UserError
from nnunet_mgcl.files import read_json, write_json


class PhaseState:
    """Remembers finished parts, `phase` or `phase/branch`, and the epoch that is under way.

    Args:
        path: `phases/state.json`.
        config: The resolved configuration; its hash guards against going on with another one.
        writes: False on all ranks but the first.

    Raises:
        UserError: The file was written by a run with another configuration.
    """

    def __init__(self, path: Path, config: MGCLConfig, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self._state: dict[str, Any] = {
            "configuration": configuration_hash(config),
            "done": [],
            "current": None,
        }
        if path.is_file():
            earlier = read_json(path)
            if earlier.get("configuration") != self._state["configuration"]:
                raise UserError(
                    path,
                    "phases of a run with another mgcl configuration",
                    "the configuration of the plan that is trained now",
                    "train without --c (the old phases are moved aside), or restore the plan",
                )
            self._state = earlier

    def is_done(self, phase: str, branch: str | None = None) -> bool:
        """Whether a part was finished, in this run or an earlier one."""
        return _part(phase, branch) in self._state["done"]

    def mark_done(self, phase: str, branch: str | None = None) -> None:
        """Notes that a part is finished and its result lies on disk."""
        self._state["done"].append(_part(phase, branch))
        self._state["current"] = None
        self._write()

    def is_skipped(self, phase: str, branch: str) -> bool:
        """Whether a part had nothing to learn from, so that its result is the initialisation."""
        return _part(phase, branch) in self._state.get("skipped", [])

    def mark_skipped(self, phase: str, branch: str) -> None:
        """Notes that a part has nothing to learn from."""
        self._state.setdefault("skipped", []).append(_part(phase, branch))

    def mark_epoch(self, phase: str, branch: str | None, epoch: int) -> None:
        """Notes that an epoch is finished (for people: the resume point itself is in the checkpoint)."""
        self._state["current"] = {"part": _part(phase, branch), "finished_epochs": epoch}
        self._write()

    def _write(self) -> None:
        if self.writes:
            write_json(self.path, self._state)


def configuration_hash(config: MGCLConfig) -> str:
    """A short hash of the resolved configuration."""
    return hashlib.sha256(json.dumps(config.model_dump(), sort_keys=True).encode()).hexdigest()[:16]


def _part(phase: str, branch: str | None) -> str:
    return f"{phase}/{branch}" if branch else phase
