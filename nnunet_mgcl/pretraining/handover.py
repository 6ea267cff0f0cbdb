"""What a phase hands on: parts of each branch's U-Net, and who starts from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.engine.state import PhaseState
from nnunet_mgcl.network.branch import (
    StateDict,
    UNet,
    decoder_state,
    encoder_state,
    load_decoder,
    load_encoder,
    load_unet,
    own_layers,
)
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.safe_loading import load_weights

PARTS = ("encoder", "decoder", "seg_layers")
COMBINATIONS = (PARTS[:1], PARTS[1:2], PARTS[:2], PARTS)
"""What a phase can hand on together."""


class Giver(Protocol):
    """What has to be known of a phase that hands on."""

    name: str
    reads: tuple[str, ...]

    @property
    def trains(self) -> tuple[str, ...]:
        """The parts."""

    def hands_on(self, config: MGCLConfig) -> bool:
        """Whether others start from them."""


class Fold(Protocol):
    """What has to be known of a fold: a `RunContext` in training, a finished fold in the report."""

    @property
    def config(self) -> MGCLConfig:
        """The `mgcl` block."""

    @property
    def layout(self) -> FoldLayout:
        """Its folders."""

    @property
    def state(self) -> PhaseState:
        """What is done."""


def start_from(earlier: Sequence[Giver], unet: UNet, branch: str, fold: Fold) -> list[str]:
    """Loads into a new U-Net the parts that earlier phases hand on: of each part what the last one left.

    Returns:
        The phases that it now starts from, without those that had nothing to learn from.
    """
    used = givers(earlier, branch, fold)
    for phase in used:
        load_parts(unet, handed_on(phase.name, branch, fold.layout), phase.trains)
    return [phase.name for phase in used if not fold.state.is_skipped(phase.name, branch)]


def givers(earlier: Sequence[Giver], branch: str, fold: Fold) -> list[Giver]:
    """The phases of which some part of a branch is still there: the last one that is done and hands it on."""
    last: dict[str, str] = {}
    for phase in earlier:
        if phase.hands_on(fold.config) and fold.state.is_done(phase.name, branch):
            last |= dict.fromkeys(phase.trains, phase.name)
    return [phase for phase in earlier if phase.name in last.values()]


def handed_on(phase: str, branch: str, layout: FoldLayout) -> StateDict:
    """What a finished phase left of a branch, on the CPU."""
    weights: StateDict = load_weights(layout.phase(phase, branch) / "network.pth")
    return weights


def state_of(unet: UNet, parts: Sequence[str]) -> StateDict:
    """The parts of a U-Net as a phase writes them: one by itself, several as the whole U-Net."""
    if len(parts) == 1:
        return encoder_state(unet) if parts[0] == "encoder" else decoder_state(unet)
    return unet.state_dict()


def load_parts(unet: UNet, state: StateDict, parts: Sequence[str]) -> None:
    """Loads what `state_of` returned for the same parts."""
    if set(parts) == set(PARTS):
        load_unet(unet, state)
    elif len(parts) == 1:
        (load_encoder if parts[0] == "encoder" else load_decoder)(unet, state)
    else:
        load_encoder(unet, _below(state, "encoder."))
        load_decoder(unet, own_layers(_below(state, "decoder.")))


def _below(state: StateDict, prefix: str) -> StateDict:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def require_readers(phases: Sequence[Giver], config: MGCLConfig, trainer: str) -> None:
    """Refuses phases whose work would be lost, before the first of them costs time.

    Raises:
        UserError: A phase is named twice, trains what no U-Net has, reads one that does not run before it, or leaves
            nothing that anybody reads.
    """
    for number, phase in enumerate(phases):
        where, before = f"{trainer}: phase {phase.name}", [other.name for other in phases[:number]]
        if phase.name in before:
            raise UserError(where, "named twice", "each phase once", "give one of them another name")
        if phase.trains and phase.trains not in COMBINATIONS:
            expected = f"one of {', '.join(map(str, COMBINATIONS))}"
            raise UserError(where, f"trains {phase.trains}", expected, "mend `trains` of its class")
        if missing := [name for name in phase.reads if name not in before]:
            raise UserError(where, f"reads {missing}", f"phases before it, which are {before}", "mend `pretraining`")
        read = any(phase.name in other.reads for other in phases[number + 1 :])
        if not read and not (phase.trains and phase.hands_on(config)):
            raise UserError(
                where, "nobody reads what it leaves", f"a phase that hands on some of {list(PARTS)}, or is read by one",
                "set `trains` of its class, or leave it out of `pretraining`",
            )  # fmt: skip
