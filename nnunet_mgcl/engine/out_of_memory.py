"""CUDA's out-of-memory error as a message that names what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from nnunet_mgcl.plan.config import BLOCKS, MGCLConfig, PhaseSettings
from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.system.errors import UserError


@contextmanager
def explaining_out_of_memory(memory: MemoryEstimate, phase: str, part: str, device: torch.device) -> Iterator[None]:
    """Turns CUDA's error into one that names the keys to change and the command that changes them.

    Args:
        memory: The configuration that is trained.
        phase: `segment`, `tss` or the block of a method.
        part: The branch or head that it trains.
        device: Where.

    Raises:
        UserError: The device ran out of memory.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        settings = smaller_settings(memory.config, phase, memory.batch_size)
        remedy = f"change {' or '.join(settings)}: {memory.plan_command(settings, 'small')}"
        found = f"not enough memory on {_described(device)}"
        raise UserError(f"phase {phase} ({part})", found, _needed(memory, phase), remedy) from None


def smaller_settings(config: MGCLConfig, phase: str, plan_batch: int) -> dict[str, Any]:
    """The keys that decide on a phase's memory, as `mgcl plan --set` names them, with values that need less.

    Of a method's phase these are its batch size and those of the methods that train the same parts.
    """
    blocks = {name: own for name, own in config.blocks().items() if isinstance(own, PhaseSettings)}
    if phase in blocks:
        alike = [name for name in blocks if BLOCKS[name].trains == BLOCKS[phase].trains]
        return {f"{name}.batch_size": _half(blocks[name].batch_size) for name in alike}
    if phase == "tss":
        return {"tss.batch_size": _half(config.tss.batch_size), "configuration.batch_size": _half(plan_batch)}
    helps = len(config.modalities or {}) > 1 and not config.segment.checkpointing
    return ({"segment.checkpointing": "true"} if helps else {}) | {"configuration.batch_size": _half(plan_batch)}


def _half(batch_size: int | None) -> int:
    return max(1, (batch_size or 2) // 2)


def _described(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device)
    properties = torch.cuda.get_device_properties(device)
    return f"{device} ({properties.name}, {properties.total_memory / 1e9:.1f} GB)"


def _needed(memory: MemoryEstimate, phase: str) -> str:
    if memory.unknown or phase not in ("segment", *memory.phases):
        return "a GPU that no other program uses, or less to compute at a time"
    needed = memory.segment() if phase == "segment" else memory.phase(phase)
    return f"about {needed:.1f} GB by nnU-Net's estimate, which no other program uses"
