"""Which network of a branch a later phase goes on with."""

from __future__ import annotations

from typing import Protocol

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.engine.state import PhaseState
from nnunet_mgcl.network.branch import StateDict, UNet, load_unet
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.system.safe_loading import load_weights


class Fold(Protocol):
    """What has to be known of a fold: a `PhaseContext` in training, a finished fold in the report."""

    @property
    def config(self) -> MGCLConfig:
        """The `mgcl` block."""

    @property
    def fold_layout(self) -> FoldLayout:
        """Its folders."""

    @property
    def state(self) -> PhaseState:
        """What is done."""


def continue_from(phase: str, unet: UNet, branch: str, fold: Fold) -> bool:
    """Loads the whole U-Net that a supervised phase left of a branch, segmentation layers included.

    Args:
        phase: `seed` or `self_train`.
        unet: As initialised; so it stays where `warm_start` is off, or the branch has no pool and thus no such phase.
        branch: Its name.
        fold: The fold.

    Returns:
        Whether it was loaded.
    """
    if not fold.config.warm_start or not fold.state.is_done(phase, branch):
        return False
    load_unet(unet, handed_on(phase, branch, fold.fold_layout))
    return True


def handed_on(phase: str, branch: str, layout: FoldLayout) -> StateDict:
    """What a finished phase left of a branch, on the CPU."""
    weights: StateDict = load_weights(layout.phase(phase, branch) / "network.pth")
    return weights
