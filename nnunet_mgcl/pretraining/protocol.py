"""What every phase looks like from outside."""

from __future__ import annotations

from typing import Protocol

from nnunet_mgcl.engine.context import PhaseContext


class Phase(Protocol):
    """One step of the cascade.

    A phase reads what earlier phases left in the fold's `phases/` folder and leaves its own result there, so that
    a run can stop and go on between any two of them. It must return at once for what is done already.
    """

    name: str

    def run(self, context: PhaseContext) -> None:
        """Runs the phase for every branch it concerns."""
