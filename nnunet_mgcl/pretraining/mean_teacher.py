"""An average of the network's own weights teaches it on the pool, inside `segment` (Tarvainen and Valpola, 2017).

The average labels the pool's samples as nnU-Net has augmented them; the network learns these labels from views that are
disturbed further. Not of the paper; docs/method.md has the sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.datasets import pool_dataset
from nnunet_mgcl.engine.loading import Sampling, open_batches
from nnunet_mgcl.engine.training_loop import Batch
from nnunet_mgcl.losses.consistency import consistency_loss
from nnunet_mgcl.network.average import move_towards
from nnunet_mgcl.network.branch import unwrap
from nnunet_mgcl.network.fusion import branch_channels, label_membership
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.plan.config import BatchSize, MethodSettings, MGCLConfig, Momentum, NonNegative, Older, Share
from nnunet_mgcl.pretraining.protocol import Companion, InSegment
from nnunet_mgcl.pretraining.strong_views import cut_mix, perturb
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, replacing
from nnunet_mgcl.system.safe_loading import load_weights


class MeanTeacherSettings(MethodSettings):
    """What `MGCLTrainerMeanTeacher` adds to `segment`: the pool, labelled by an average of the network's weights."""

    weight: NonNegative = Field(1.0, description="weight of the pool's loss beside the labelled samples'")
    batch_size: BatchSize | None = Field(None, description="unlabelled samples a step and GPU; null: as labelled ones")
    momentum: Annotated[Momentum, Older(0.99)] = Field(
        0.98, description="share of its weights that the teacher keeps at a step"
    )
    start: Annotated[float, Field(ge=0, lt=1)] = Field(0.2, description="share of segment before the pool takes part")
    ramp: Share = Field(0.2, description="share of segment over which its weight then rises")


class MeanTeacher(InSegment):
    """Segmentation of labelled and pool cases at once."""

    name, Settings = "mean_teacher", MeanTeacherSettings

    def extra_samples(self, config: MGCLConfig, batch_size: int) -> int:
        """The unlabelled ones."""
        return self.settings(config).batch_size or batch_size

    def loss(self, supervised: nn.Module) -> nn.Module:
        """With the pool's part."""
        return LossWithPool(supervised)

    def begin(self, context: FoldContext, loss: nn.Module, extra_samples: int) -> EMATeacher:
        """The teacher, as the network is now; every modality needs a pool."""
        if without := [branch.name for branch in context.branches if not context.pool.get(branch.name)]:
            raise UserError(
                f"{self.name}: the pool", f"no unlabelled case of {', '.join(without)}", "some of every modality",
                "add scans to imagesUn, or train MGCLTrainer",
            )  # fmt: skip
        if len(context.branches) > 1 and not context.config.lesion_labels:
            raise UserError(
                f"{self.name}: the labels", f"one label map for {len(context.branches)} branches",
                "lesion_labels (a mask per modality), or one branch: an unpaired scan has no fused label",
                'put all channels into one branch ("mgcl": {"modalities": {"MRI": [0, 1]}} in dataset.json), '
                "or train MGCLTrainer",
            )  # fmt: skip
        assert isinstance(loss, LossWithPool)
        loss.read = reading(context)
        return EMATeacher(context, self.settings(context.config), loss, extra_samples)


@dataclass(frozen=True)
class PoolSamples:
    """Strong views `(B, C, ...)`, the teacher's probabilities `(B, L, ...)`, and the weight of their loss."""

    images: Tensor
    targets: Tensor
    weight: float


class EMATeacher(Companion):
    """The teacher and its stream of unlabelled samples.

    Pool scans are unpaired, and with a mask per modality the branches do not meet: a sample is put together of one
    slice (3d: patch) of each modality's pool, of whatever patient.

    Args:
        context: The fold's context; its network is the student.
        settings: The plan's block.
        loss: It takes the pool's samples of a step.
        batch_size: Unlabelled samples a step, on this rank.
    """

    def __init__(
        self, context: FoldContext, settings: MeanTeacherSettings, loss: LossWithPool, batch_size: int
    ) -> None:
        self.context, self.settings, self.loss, self.batch_size = context, settings, loss, batch_size
        self.reading = reading(context)
        self.network: MGCLNetwork = deepcopy(context.network).eval().requires_grad_(False)
        self.network.deep_supervision = False
        self.steps = 0
        self._opened = ExitStack()
        self._streams: dict[str, Iterator[dict[str, Any]]] = {}

    def before_step(self, batch: Batch, progress: float) -> Batch:
        """Puts the pool's samples behind the labelled ones, once the teacher has something to say."""
        self.loss.pool = pool = self.samples(progress)
        if pool is None:
            return batch
        images = batch["data"].to(self.context.device, non_blocking=True)
        return batch | {"data": torch.cat([images, pool.images])}

    def samples(self, progress: float) -> PoolSamples | None:
        """The next unlabelled samples; None while the teacher has nothing to say yet."""
        if (weight := pool_weight(self.settings, progress)) == 0:
            return None
        images = self._next_images()
        with torch.no_grad(), self.context.autocast():
            targets = self.reading.probabilities(self.network(images))
        return PoolSamples(*cut_mix(perturb(images), targets), weight)

    def after_step(self, network: nn.Module) -> None:
        """Moves the teacher towards the student."""
        self.loss.pool = None
        self.steps += 1
        follow(self.network, unwrap(network), self.settings.momentum, self.steps)

    def save(self, path: Path, epoch: int) -> None:
        """Writes what a later `load` needs."""
        with replacing(path) as temporary:
            torch.save({"network": self.network.state_dict(), "steps": self.steps, "epoch": epoch}, temporary)

    def load(self, path: Path, epoch: int) -> bool:
        """Reads the teacher as it was at the start of an epoch."""
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
            own = next(self._stream(branch))["data"].to(self.context.device, non_blocking=True)
            if images is None:
                images = own.new_zeros(len(own), channels, *own.shape[2:])
            images[:, branch.channels] = own
        assert images is not None
        return images

    def _stream(self, branch: Branch) -> Iterator[dict[str, Any]]:
        if branch.name not in self._streams:
            dataset = pool_dataset(self.context, branch)
            batches = open_batches(self.context, branch, dataset, self.batch_size, Sampling())
            self._streams[branch.name] = self._opened.enter_context(batches)
        return self._streams[branch.name]


@dataclass(frozen=True)
class Reading:
    """How the network's output is read.

    Attributes:
        channels: The branches' own logits where each has a mask; None: all of nnU-Net's.
        exclusive: Whether the targets exclude each other: a shared label map without regions.
    """

    channels: list[int] | None
    exclusive: bool

    def logits(self, output: Tensor) -> Tensor:
        """The logits that are trained."""
        return output if self.channels is None else output[:, self.channels]

    def probabilities(self, output: Tensor) -> Tensor:
        """The same as probabilities."""
        logits = self.logits(output).float()
        return logits.softmax(1) if self.exclusive else logits.sigmoid()


def reading(context: FoldContext) -> Reading:
    """How the output of a fold's network is read."""
    if not context.config.lesion_labels:
        return Reading(None, not context.branches[0].label_manager.has_regions)
    membership = label_membership(context.config.labels_by_branch, 2 ** len(context.branches))
    return Reading(branch_channels(membership), exclusive=False)


class LossWithPool(nn.Module):
    """nnU-Net's loss of the labelled samples of a batch plus that of the pool's samples behind them.

    `read` is set once training has begun, `pool` for the step of a batch that has pool samples.

    Args:
        supervised: nnU-Net's loss.
    """

    def __init__(self, supervised: nn.Module) -> None:
        super().__init__()
        self.supervised = supervised
        self.pool: PoolSamples | None = None
        self.read: Reading | None = None

    def forward(self, output: Any, target: Any) -> Tensor:
        """The loss of nnU-Net's output, a list under deep supervision; the pool's counts at the finest resolution."""
        if self.pool is None:
            return self.supervised(output, target)
        assert self.read is not None
        pool, maps = self.pool, output if isinstance(output, list) else [output]
        unlabelled = len(pool.images)
        labelled = [own[:-unlabelled] for own in maps]
        loss = self.supervised(labelled if isinstance(output, list) else labelled[0], target)
        logits = self.read.logits(maps[0][-unlabelled:])
        return loss + pool.weight * consistency_loss(logits, pool.targets, self.read.exclusive)


def pool_weight(settings: MeanTeacherSettings, progress: float) -> float:
    """Weight of the pool's loss after a share of the training: 0, then rising linearly, then constant."""
    return settings.weight * min(1.0, max(0.0, progress - settings.start) / settings.ramp)


def follow(teacher: nn.Module, student: nn.Module, momentum: float, steps: int) -> None:
    """Moves the teacher's weights towards the student's, faster in its first steps.

    Args:
        teacher: It keeps a share `momentum` of itself.
        student: Of the same architecture.
        momentum: The share.
        steps: Number of this step, from 1.
    """
    move_towards(teacher, student, min(momentum, 1 - 1 / (steps + 1)))
