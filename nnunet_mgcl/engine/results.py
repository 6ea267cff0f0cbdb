"""What a phase leaves of a branch, written before it is called done."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnunet_mgcl.engine.context import RunContext
from nnunet_mgcl.system.files import replacing


def finish_branch(run: RunContext, phase: str, branch: str, result: nn.Module | dict[str, Tensor]) -> None:
    """Writes a branch's result, marks it done and removes the resume point, in this order."""
    save_result(run, phase, branch, result)
    mark_finished(run, phase, branch)


def save_result(run: RunContext, phase: str, branch: str, result: nn.Module | dict[str, Tensor]) -> None:
    """Writes what a phase made of a branch."""
    if run.is_first_rank:
        state = result.state_dict() if isinstance(result, nn.Module) else result
        with replacing(run.layout.phase(phase, branch) / "network.pth") as temporary:
            torch.save(state, temporary)


def mark_finished(run: RunContext, phase: str, branch: str) -> None:
    """Marks a branch done, whose result all processes may read from here on, and removes its resume point."""
    run.wait_for_all()
    run.state.mark_done(phase, branch)
    if run.is_first_rank:
        (run.layout.phase(phase, branch) / "checkpoint_latest.pth").unlink(missing_ok=True)
