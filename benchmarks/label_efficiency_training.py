"""Training and scoring in benchmarks/label_efficiency.py, and its rule for the length."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from label_efficiency_data import BATCH, CACHED, Draw, Samples
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn

from nnunet_mgcl.losses import IGNORE_INDEX, supcon_loss
from nnunet_mgcl.losses.consistency import consistency_loss
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.pretraining.mean_teacher import MeanTeacherSettings, follow, pool_weight
from nnunet_mgcl.pretraining.strong_views import cut_mix, perturb

LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-5
SCORED_EVERY, PATIENCE, RISE, LONGEST = 125, 500, 0.005, 2000
TEACHER, TEACHER_STEPS = MeanTeacherSettings(), 1500
"""The mean teacher's weights, and the number of steps that its `start` and `ramp` are shares of."""
WARM_UP = round(TEACHER_STEPS * (TEACHER.start + TEACHER.ramp))
"""Steps until the pool has its whole weight: the plateau rule looks at what comes after."""


def supervised() -> nn.Module:
    """nnU-Net's Dice + cross-entropy, as in the phases `seed` and `self_train`."""
    dice = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)


def batches(samples: Samples, seed: int, size: int = BATCH) -> Iterator[Samples]:
    """Batches without end; every sample once before any comes again."""
    images, masks = samples
    generator = torch.Generator().manual_seed(seed)
    while True:
        for chosen in torch.randperm(len(images), generator=generator).split(size):
            if len(chosen) == size:
                chosen = chosen.to(images.device)
                yield images[chosen].float(), masks[chosen].long()


@dataclass
class Trainee:
    """A U-Net in training: labelled batches, and what the arm adds to them."""

    network: UNet
    labelled: Iterator[Samples]
    unlabelled: Iterator[Samples] | None = None
    kind: str = "random"

    def __post_init__(self) -> None:
        self.network = self.network.train()
        self.teacher = deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        self.loss, self.steps = supervised(), 0

    def step(self, learning_rate: float) -> None:
        """One step of the arm."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        images, masks = next(self.labelled)
        loss = self._joint_loss(images, masks)
        if not torch.isfinite(loss):
            raise SystemExit(f"loss {float(loss.detach())} at step {self.steps}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.optimiser.step()
        self.steps += 1
        follow(self.teacher, self.network, TEACHER.momentum, self.steps)

    def _joint_loss(self, images: Tensor, masks: Tensor) -> Tensor:
        weight = pool_weight(TEACHER, self.steps / TEACHER_STEPS) if self.kind == "mean_teacher" else 0.0
        if self.kind == "pool_masks":
            pool, pool_masks = next(self._pool)
            return self.loss(self.network(torch.cat([images, pool])), torch.cat([masks, pool_masks]))
        if weight == 0:
            return self.loss(self.network(images), masks)
        pool, _ = next(self._pool)
        with torch.no_grad():
            targets = self.teacher(pool).softmax(1)
        views, targets = cut_mix(perturb(pool), targets)
        logits = self.network(torch.cat([images, views]))
        unlabelled = consistency_loss(logits[len(images) :], targets, exclusive=True)
        return self.loss(logits[: len(images)], masks) + weight * unlabelled

    @property
    def _pool(self) -> Iterator[Samples]:
        assert self.unlabelled is not None
        return self.unlabelled


def train(trainee: Trainee, steps: int) -> UNet:
    """The final training: nnU-Net's polynomial schedule."""
    for step in range(steps):
        trainee.step(LEARNING_RATE * (1 - step / steps) ** 0.9)
    return trainee.network.eval()


@torch.no_grad()
def segment(network: UNet, images: list[Tensor]) -> list[Tensor]:
    """Label maps `(Z, X, Y)` of whole cases."""
    network.eval()
    labels = [torch.cat([network(part).argmax(1).to(torch.int8) for part in own.split(64)]) for own in images]
    network.train()
    return labels


def dice_scores(predicted: list[Tensor], masks: list[Tensor], classes: list[int]) -> list[float | None]:
    """Mean Dice over the classes a case shows; None where it shows none."""
    scores: list[float | None] = []
    for own, mask in zip(predicted, masks, strict=True):
        pairs = [(own == label, mask[:, 0] == label) for label in classes if bool((mask == label).any())]
        each = [float(2 * (p & t).sum() / (p.sum() + t.sum())) for p, t in pairs]
        scores.append(float(np.mean(each)) if each else None)
    return scores


def mean_score(scores: list[float | None]) -> float | None:
    """The mean of what is defined."""
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if known else None


def plateau(draw: Draw, begin: Callable[[Samples], Trainee], first: int = 0) -> tuple[int, dict]:
    """The number of steps, above `first`, by the plateau rule, and the curve that it comes from."""
    classes = draw.branch.label_manager.foreground_labels
    halves = [draw.labelled[half::2] for half in (0, 1)]
    others = [draw.volumes(half) for half in reversed(halves)]
    trainees = [
        begin(draw.samples(draw.dataset(half), CACHED["labelled"] // 2, f"half {number}"))
        for number, half in enumerate(halves)
    ]
    curve: list[float] = []
    while trainees[0].steps < LONGEST and not _stands_still(curve[first // SCORED_EVERY :]):
        scores: list[float | None] = []
        for trainee, (images, masks) in zip(trainees, others, strict=True):
            for _ in range(SCORED_EVERY):
                trainee.step(LEARNING_RATE)
            scores += dice_scores(segment(trainee.teacher, images), masks, classes)
        curve.append(mean_score(scores) or 0.0)
    warm_up = first // SCORED_EVERY
    told = curve[warm_up:]
    best = int(np.argmax(told)) if max(told) > 0 else len(told) - 1
    return (warm_up + best + 1) * SCORED_EVERY, {"cross-fitted": curve}


def _stands_still(curve: list[float]) -> bool:
    """Whether the last `PATIENCE` iterations brought less than `RISE`."""
    lately = PATIENCE // SCORED_EVERY
    return len(curve) > lately and 0 < max(curve[-lately:]) < max(curve[:-lately]) + RISE


def minimise(model: nn.Module, stream: Iterator[Samples], steps: int, rate: float) -> dict:
    """Trains by contrast with a cosine schedule; returns the first and the last loss."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    losses = []
    model.train()
    for batch in itertools.islice(stream, steps):
        losses.append(contrast_step(model, optimiser, batch)[0])
        schedule.step()
    return {"first 20": float(np.mean(losses[:20])), "last 20": float(np.mean(losses[-20:]))}


def contrast_step(model: nn.Module, optimiser: torch.optim.Optimizer, batch: Samples) -> tuple[float, Tensor]:
    """One step of the supervised contrastive loss; returns it with the samples' labels."""
    embeddings, labels = model(*batch)
    loss = supcon_loss(embeddings, labels, temperature=0.1, ignore_index=IGNORE_INDEX)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return float(loss.detach()), labels
