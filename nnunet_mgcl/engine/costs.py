"""What the parts of a training cost: `phases/costs.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, read_json, write_json

KINDS = ("labelled", "pseudo_labelled", "unlabelled")
"""Of samples, by what a loss knows of them."""


@dataclass(frozen=True)
class Cost:
    """What a part of a training has cost so far.

    Attributes:
        steps: Of the optimiser.
        seconds: Of training, without start-up.
        samples: That passed the network, views counted, in all processes: kind -> number.
    """

    steps: int
    seconds: float
    samples: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, steps: int, seconds: float, per_step: Mapping[str, float]) -> Cost:
        """So many steps with so many samples each."""
        return cls(steps, seconds, {kind: steps * number for kind, number in per_step.items()})


class Costs:
    """The costs of a fold's phases, branch by branch.

    Args:
        path: `phases/costs.json`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, phase: str, branch: str, cost: Cost) -> None:
        """Takes the cost of a part in the place of what was known of it."""
        known = read_json(self.path) if is_there(self.path) else {}
        write_json(self.path, known | {f"{phase}/{branch}": asdict(cost)})

    def take_over(self, other: Costs, phase: str) -> None:
        """Adds what another run paid for a phase."""
        for part, cost in other.read().items():
            name, _, branch = part.partition("/")
            if name == phase:
                self.note(name, branch, cost)

    def read(self) -> dict[str, Cost]:
        """`phase/branch` -> its cost; empty where an older version trained.

        Raises:
            UserError: The file is none that a training wrote.
        """
        if not is_there(self.path):
            return {}
        try:
            return {part: Cost(**cost) for part, cost in read_json(self.path).items()}
        except (TypeError, AttributeError):
            remedy = "remove the file; it influences no result"
            raise UserError(self.path, "not what a training writes", "steps and seconds of parts", remedy) from None
