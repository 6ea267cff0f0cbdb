"""The training loop that the phases share: seeds, resume, NaN check, curve, log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import cos, isfinite, pi
from pathlib import Path
from time import time
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from nnunet_mgcl.engine.context import RunContext
from nnunet_mgcl.engine.costs import Cost
from nnunet_mgcl.engine.curves import Curves
from nnunet_mgcl.engine.out_of_memory import explaining_out_of_memory
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.plan.config import Optimiser
from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, replacing
from nnunet_mgcl.system.safe_loading import load_weights

GRADIENT_NORM = 12
"""nnU-Net's bound."""

Batch = dict[str, Any]
Step = Callable[[nn.Module, Batch], tuple[Tensor, str | None]]
"""Takes the (wrapped) module and a batch; returns the loss and None, or a zero loss and why the batch teaches nothing.

The log counts the reasons. No step follows them: Adam would turn the weight decay alone into a full-sized step.
"""


class Observer:
    """Looks on while a module is trained, in every process. It may change neither the module nor the random state.

    Attributes:
        notes: What it has seen, as numbers and lists of them. They travel in the checkpoint: a resumed run has all.
    """

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {}

    def before(self, module: nn.Module) -> None:
        """Looks at the module before its first step."""

    def after_epoch(self, module: nn.Module, curve: list[float]) -> None:
        """Looks at the module after an epoch, the curve's last."""

    def enough(self, curve: list[float]) -> bool:
        """Whether the training can end before its last epoch; the same in every process."""
        return False

    def text(self, curve: list[float]) -> str:
        """What the log says behind the last loss."""
        return ""

    def beside(self) -> dict[str, list[float]]:
        """What is drawn beside the curve, a value an epoch each."""
        return {}

    def draw(self, curves: Curves, finished: bool) -> None:
        """Adds what else it has seen to the picture, after the curve itself."""


@dataclass(frozen=True)
class Job:
    """The training of one module in one phase.

    Attributes:
        phase: Name of the phase.
        branch: Name of the branch, or of the head in `tss`.
        module: What is trained; parameters with `requires_grad=False` stay as they are.
        optimiser: Adam's settings.
        cosine: Whether the learning rate falls to 0 as a cosine; constant otherwise.
        epochs: Epochs.
        iterations: Batches an epoch.
        batches: Opens the stream of batches and closes it.
        step: Loss of one batch.
        block: The block of the plan that has its settings, for messages; `phase` where it is not given.
        observer: Looks on.
        samples: What passes the network in a step, in all processes: kind (`costs.KINDS`) -> number.
    """

    phase: str
    branch: str
    module: nn.Module
    optimiser: Optimiser
    cosine: bool
    epochs: int
    iterations: int
    batches: Callable[[], AbstractContextManager[Iterator[Batch]]]
    step: Step
    block: str = ""
    observer: Observer = field(default_factory=Observer)
    samples: Mapping[str, float] = field(default_factory=dict)


def train(context: RunContext, job: Job) -> list[float]:
    """Trains `job.module` in place, from the last finished epoch on where one was saved; returns the mean losses.

    Raises:
        UserError: A loss is NaN or infinite, or the GPU's memory does not suffice; names the phase and more.
    """
    with explaining_out_of_memory(context.memory, job.block or job.phase, job.branch, context.device):
        return _train(context, job)


def _train(context: RunContext, job: Job) -> list[float]:
    trainer = _ModuleTrainer(context, job)
    first = trainer.resume()
    if first == 0:
        job.observer.before(trainer.module)
    started = time()
    context.log(f"{job.phase} {job.branch}: epochs {first + 1}-{job.epochs}, {job.iterations} iterations each")
    with (
        job.batches() as batches,
        tqdm(
            total=job.epochs,
            initial=first,
            desc=f"{job.phase} {job.branch}",
            unit="epoch",
            disable=not context.is_first_rank,
        ) as bar,
    ):
        for epoch in range(first, job.epochs):
            if epoch and job.observer.enough(trainer.curve):
                break
            loss = trainer.run_epoch(epoch, batches)
            bar.set_postfix(loss=f"{loss:.4f}")
            bar.update()
    if first < len(trainer.curve):
        observed = job.observer.text(trainer.curve)
        context.log(f"{job.phase} {job.branch}: loss {trainer.curve[-1]:.4f}{observed}, {time() - started:.1f} s")
    return trainer.curve


class _ModuleTrainer:
    def __init__(self, context: RunContext, job: Job) -> None:
        self.context, self.job = context, job
        self.curve: list[float] = []
        self.seconds = 0.0
        self.module = job.module.to(context.device)
        self.wrapped = context.wrap(self.module)
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        settings = job.optimiser
        self.optimizer = torch.optim.Adam(
            self.parameters, settings.lr, betas=(settings.beta1, 0.999), weight_decay=settings.weight_decay
        )
        self.scaler = torch.amp.GradScaler(enabled=context.device.type == "cuda")
        self.checkpoint: Path = context.layout.phase(job.phase, job.branch) / "checkpoint_latest.pth"

    def resume(self) -> int:
        """Loads the last finished epoch; returns the number of finished epochs."""
        if not is_there(self.checkpoint):
            return 0
        saved = load_weights(self.checkpoint, self.context.device)
        if saved["scaler"].get("scale", 1.0) < 1:  # of an older version that left out every step: it trained nothing
            self.context.log(f"{self.job.phase} {self.job.branch}: begins again, its resume point has trained nothing")
            return 0
        self.module.load_state_dict(saved["module"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.curve, self.seconds = saved["curve"], saved.get("seconds", 0.0)
        self.job.observer.notes.update(saved.get("notes", {}))  # older versions took none
        self._draw_curve()  # the run may have stopped before it was drawn
        return len(self.curve)

    def run_epoch(self, epoch: int, batches: Iterator[Batch]) -> float:
        job, context = self.job, self.context
        reseed(context.config.random_seed, context.fold, job.phase, job.branch, epoch, context.rank)
        factor = 0.5 * (1 + cos(pi * epoch / job.epochs)) if job.cosine else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = job.optimiser.lr * factor
        self.wrapped.train()
        started, total, remarks = time(), 0.0, Counter[str]()
        for _ in range(job.iterations):
            loss, remark = self._iterate(epoch, next(batches))
            total += loss
            remarks.update([remark] if remark else [])
        taught = job.iterations - remarks.total()  # a zero that teaches nothing would blur the curve
        self.curve.append(context.mean_over_ranks(total / max(taught, 1)))
        job.observer.after_epoch(self.module, self.curve)
        self.seconds += time() - started
        self._finish_epoch(epoch, time() - started, remarks)
        return self.curve[-1]

    def _iterate(self, epoch: int, batch: Batch) -> tuple[float, str | None]:
        self.optimizer.zero_grad(set_to_none=True)
        with self.context.autocast():
            loss, remark = self.job.step(self.wrapped, batch)
        value = float(loss.detach())
        self._require_finite(epoch, value, batch)
        self.scaler.scale(loss).backward()
        if remark is not None:
            return value, remark
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, GRADIENT_NORM)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._require_steps(epoch, batch)
        return value, None

    def _require_steps(self, epoch: int, batch: Batch) -> None:
        """The scaler leaves out each step whose gradients are not finite, silently; a few at first are usual."""
        if self.scaler.is_enabled() and self.scaler.get_scale() < 1:
            found = f"gradients that are not finite, whatever the loss is scaled by; last {on_cases(batch)}"
            remedy = "train with nnUNet_compile=f, or check these images for extreme values"
            raise UserError(self._place(epoch), found, "finite gradients", remedy)

    def _require_finite(self, epoch: int, value: float, batch: Batch) -> None:
        """Stops every process where one has no finite loss: the others would wait for its gradients."""
        wrong = not isfinite(value)
        if not self.context.any_over_ranks(torch.tensor(wrong, device=self.context.device)):
            return
        own = f"loss {value} {on_cases(batch)}" if wrong else ""
        found = "; ".join(filter(None, self.context.from_all_ranks(own)))
        block = self.job.block or self.job.phase
        raise no_finite_loss(self._place(epoch), found, self.context.memory, block, self.job.optimiser.lr)

    def _place(self, epoch: int) -> str:
        return f"phase {self.job.phase} ({self.job.branch}), epoch {epoch + 1}"

    def _finish_epoch(self, epoch: int, seconds: float, remarks: Counter[str]) -> None:
        job, context = self.job, self.context
        observed = job.observer.text(self.curve)
        counted = "".join(f", {count} x {remark}" for remark, count in remarks.items())
        context.log(
            f"{job.phase} {job.branch}: epoch {epoch + 1}/{job.epochs}, loss {self.curve[-1]:.4f}{observed}{counted}, "
            f"{seconds:.1f} s",
            to_console=False,
        )
        if not context.is_first_rank:
            return
        saved = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "curve": self.curve,
            "notes": job.observer.notes,
            "seconds": self.seconds,
        }
        with replacing(self.checkpoint) as temporary:
            torch.save(saved, temporary)
        context.costs.note(job.phase, job.branch, Cost.of((epoch + 1) * job.iterations, self.seconds, job.samples))
        context.state.mark_epoch(job.phase, job.branch, epoch + 1)
        self._draw_curve()

    def _draw_curve(self) -> None:
        if self.context.is_first_rank:
            job, finished = self.job, len(self.curve) == self.job.epochs
            beside = job.observer.beside()
            self.context.curves.update(job.phase, job.branch, self.curve, finished=finished, beside=beside)
            job.observer.draw(self.context.curves, finished)


def on_cases(batch: Batch) -> str:
    """The cases of a batch, for a message."""
    return f"on the cases {', '.join(dict.fromkeys(map(str, batch['keys'])))}"


def no_finite_loss(where: str, found: str, memory: MemoryEstimate, block: str, lr: float) -> UserError:
    """The end of a training whose loss is NaN or infinite; `block`: the plan's, with its learning rate."""
    lower = memory.plan_command({f"{block}.lr": f"{lr / 10:g}"}, "lower_lr")
    remedy = f"check these images for extreme values, or lower the learning rate: {lower}"
    return UserError(where, found, "a finite loss", remedy)
