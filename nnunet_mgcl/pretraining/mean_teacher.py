"""An average of the network's own weights teaches it on the pool, inside `segment` (Tarvainen and Valpola, 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_mgcl.engine.context import PhaseContext
from nnunet_mgcl.engine.datasets import pool_dataset
from nnunet_mgcl.engine.loading import open_batches
from nnunet_mgcl.losses.consistency import consistency_loss
from nnunet_mgcl.network.branch import unwrap
from nnunet_mgcl.network.fusion import branch_channels, label_membership
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.plan.config import MeanTeacherConfig
from nnunet_mgcl.pretraining.strong_views import cut_mix, perturb
from nnunet_mgcl.system.files import is_there, replacing
from nnunet_mgcl.system.safe_loading import load_weights


@dataclass(frozen=True)
class PoolSamples:
    """Strong views `(B, C, ...)`, the teacher's probabilities `(B, L, ...)`, and the weight of their loss."""

    images: Tensor
    targets: Tensor
    weight: float


class MeanTeacher:
    """The teacher and its stream of unlabelled samples.

    Pool scans are unpaired, and with a mask per modality the branches do not meet: a sample is put together of one
    slice (3d: patch) of each modality's pool, of whatever patient.

    Args:
        context: The fold's context; its network is the student.
        batch_size: Unlabelled samples a step, on this rank.
    """

    def __init__(self, context: PhaseContext, batch_size: int) -> None:
        self.context, self.batch_size = context, batch_size
        self.network: MGCLNetwork = deepcopy(context.network).eval().requires_grad_(False)
        self.network.deep_supervision = False
        self.steps = 0
        self._opened = ExitStack()
        self._streams: dict[str, Iterator[dict[str, Any]]] = {}

    @property
    def config(self) -> MeanTeacherConfig:
        """The plan's block."""
        return self.context.config.mean_teacher

    def samples(self, progress: float) -> PoolSamples | None:
        """The next unlabelled samples; None while the teacher has nothing to say yet."""
        if (weight := pool_weight(self.config, progress)) == 0:
            return None
        images = self._next_images()
        with torch.no_grad(), self.context.autocast():
            targets = read_probabilities(self.network(images), self.context)
        return PoolSamples(*cut_mix(perturb(images), targets), weight)

    def update(self, student: nn.Module) -> None:
        """Moves the teacher towards the student."""
        self.steps += 1
        follow(self.network, unwrap(student), self.config.momentum, self.steps)

    def save(self, path: Path, epoch: int) -> None:
        """Writes what a later `load` needs."""
        with replacing(path) as temporary:
            torch.save({"network": self.network.state_dict(), "steps": self.steps, "epoch": epoch}, temporary)

    def load(self, path: Path, epoch: int) -> bool:
        """Reads the teacher as it was at the start of an epoch; False where there is none of that epoch."""
        if not is_there(path):
            return False
        saved = load_weights(path, self.context.device)
        if saved["epoch"] != epoch:
            return False
        self.network.load_state_dict(saved["network"])
        self.steps = saved["steps"]
        return True

    def close(self) -> None:
        """Ends the loaders' processes."""
        self._opened.close()
        self._streams.clear()

    def _next_images(self) -> Tensor:
        """`(B, C, ...)`, every branch's channels from its own pool."""
        channels = sum(len(branch.channels) for branch in self.context.branches)
        images: Tensor | None = None
        for branch in self.context.branches:
            own = next(self._stream(branch.name))["data"].to(self.context.device, non_blocking=True)
            if images is None:
                images = own.new_zeros(len(own), channels, *own.shape[2:])
            images[:, branch.channels] = own
        assert images is not None
        return images

    def _stream(self, name: str) -> Iterator[dict[str, Any]]:
        if name not in self._streams:
            branch = next(branch for branch in self.context.branches if branch.name == name)
            dataset = pool_dataset(self.context, branch)
            batches = open_batches(self.context, branch, dataset, self.batch_size, region_targets=False)
            self._streams[name] = self._opened.enter_context(batches)
        return self._streams[name]


class LossWithPool(nn.Module):
    """nnU-Net's loss of the labelled samples of a batch plus that of the pool's samples behind them.

    `context` is set once training has begun, `pool` for the step of a batch that has pool samples.

    Args:
        supervised: nnU-Net's loss.
    """

    def __init__(self, supervised: nn.Module) -> None:
        super().__init__()
        self.supervised = supervised
        self.pool: PoolSamples | None = None
        self.context: PhaseContext | None = None

    def forward(self, output: Any, target: Any) -> Tensor:
        """The loss of nnU-Net's output, a list under deep supervision; the pool's counts at the finest resolution."""
        if self.pool is None:
            return self.supervised(output, target)
        assert self.context is not None
        pool, maps = self.pool, output if isinstance(output, list) else [output]
        unlabelled = len(pool.images)
        labelled = [own[:-unlabelled] for own in maps]
        loss = self.supervised(labelled if isinstance(output, list) else labelled[0], target)
        logits = read_logits(maps[0][-unlabelled:], self.context)
        return loss + pool.weight * consistency_loss(logits, pool.targets, is_exclusive(self.context))


def pool_weight(config: MeanTeacherConfig, progress: float) -> float:
    """Weight of the pool's loss after a share of the training: 0, then rising linearly, then constant."""
    return config.weight * min(1.0, max(0.0, progress - config.start) / config.ramp)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float, steps: int) -> None:
    """Moves the teacher's weights towards the student's, faster in its first steps.

    Args:
        teacher: It keeps a share `momentum` of itself.
        student: Of the same architecture.
        momentum: The share.
        steps: Number of this step, from 1.
    """
    momentum = min(momentum, 1 - 1 / (steps + 1))
    for own, theirs in zip(teacher.state_dict().values(), student.state_dict().values(), strict=True):
        if own.is_floating_point():
            own.lerp_(theirs, 1 - momentum)
        else:
            own.copy_(theirs)


def is_exclusive(context: PhaseContext) -> bool:
    """Whether the targets exclude each other: a shared label map without regions."""
    return not context.config.lesion_labels and not context.branches[0].label_manager.has_regions


def read_logits(output: Tensor, context: PhaseContext) -> Tensor:
    """The logits that are trained: the branches' own where each has a mask, else nnU-Net's."""
    if context.config.lesion_labels:
        return output[:, branch_channels(label_membership(context.config, output.shape[1]))]
    return output


def read_probabilities(output: Tensor, context: PhaseContext) -> Tensor:
    """The same as probabilities."""
    logits = read_logits(output, context).float()
    return logits.softmax(1) if is_exclusive(context) else logits.sigmoid()
