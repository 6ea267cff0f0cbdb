"""Does the unlabelled pool pay? Arms that start from the same few labelled cases, on 2d slices, one core a process.

    python benchmarks/label_efficiency.py --dataset Dataset602_Phantom --out DIR --labels 5 --draws 0 1 2 3
    python benchmarks/label_efficiency.py --dataset Dataset602_Phantom --out DIR --report

A draw is a random choice of labelled cases; pool and test cases are the same in all draws. The dataset's cases all have
masks: those of the pool are used by the upper bounds only. Results are JSON files, one a draw and arm; what is there is
not computed again, so that several processes can share the draws.

Arms and the length of their supervised phase (`segment`):

- `random`: He initialisation; length by the plateau rule.
- `mgcl`: the cascade of `MGCLTrainer`; `segment` of the length of `random` (`equal-finetuning`). Its first network
  (`seed`) is `random`'s.
- `mgcl_cold`: the same with `warm_start=false`: every phase from He initialisation, as the paper is read.
- `mean_teacher`: `MGCLTrainerMeanTeacher`'s recipe; length by the plateau rule.
- `random_long`: as many supervised steps as the mean teacher's training and search took core-seconds (`equal-total`).
- `mgcl_masks`: `mgcl` with the pool's true masks in `coarse` and `fine`: an upper bound of its contrast.
- `pool_masks`: He initialisation with the pool's true masks as well: an upper bound of what a pool can give.

Plateau rule: the labelled cases are cut into two halves. A network trained on one half at a constant learning rate is
scored on the other every 125 iterations (by the average of its weights, less noisy), until the mean Dice of all
labelled cases has not risen by 0.005 for 500 iterations (at most 2,000; a Dice of 0 is no plateau). The best number of
iterations, or 2,000 where nothing is found, is that of the final training on all labelled cases, with nnU-Net's
polynomial schedule. Test cases choose nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

from nnunet_mgcl.config import CoarseConfig, FineConfig, MeanTeacherConfig
from nnunet_mgcl.data.modality_dataset import ModalityDataset, labelled_sources
from nnunet_mgcl.losses import IGNORE_INDEX, supcon_loss
from nnunet_mgcl.losses.consistency import consistency_loss
from nnunet_mgcl.network.branch import UNet, decoder_state, encoder_state, load_decoder, load_encoder
from nnunet_mgcl.phases.branches import build_branches
from nnunet_mgcl.phases.coarse import CoarseModel
from nnunet_mgcl.phases.context import Branch
from nnunet_mgcl.phases.fine import FineModel
from nnunet_mgcl.phases.mean_teacher import follow, pool_weight
from nnunet_mgcl.phases.seeding import reseed
from nnunet_mgcl.phases.strong_views import cut_mix, perturb
from nnunet_mgcl.plans import resolve_block

ARMS = ("random", "mgcl", "mgcl_cold", "mgcl_masks", "mean_teacher", "random_long", "pool_masks")
BATCH, LEARNING_RATE, WEIGHT_DECAY = 8, 3e-3, 1e-5
SCORED_EVERY, PATIENCE, RISE, LONGEST = 125, 500, 0.005, 2000
CACHED = {"labelled": 6400, "pool": 8000}
"""Augmented samples, made once a draw; a training draws its batches from them."""
CONTRAST = {"self_train": 500, "coarse": 400, "fine": 300}
"""Iterations of the cascade's phases."""
WARM_CONTRAST_RATE = 1e-3
"""Learning rate of `coarse` and `fine` where they go on with trained weights."""
FEWEST = 2
"""Labelled cases of a draw that show a lesion, one for each half of the plateau rule."""
TEACHER, TEACHER_STEPS = MeanTeacherConfig(), 1500
"""The mean teacher's weights, and the number of steps that its `start` and `ramp` are shares of."""
WARM_UP = round(TEACHER_STEPS * (TEACHER.start + TEACHER.ramp))
"""Steps until the pool has its whole weight: the plateau rule looks at what comes after."""
DEVICE = torch.device("cpu")
"""Of networks and samples."""
Samples = tuple[Tensor, Tensor]


def main() -> None:
    """Runs what has no result yet, or writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="DatasetXXX_Name in nnUNet_preprocessed, planned for 2d")
    parser.add_argument("--plans", default="MGCLPlans_demo")
    parser.add_argument("--modalities", nargs="+", help="branches (default: all)")
    parser.add_argument("--labels", type=int, default=5, help="labelled cases a draw")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--arms", nargs="+", default=["random", "mgcl", "mean_teacher"], choices=ARMS)
    parser.add_argument(
        "--sizes",
        type=int,
        nargs=3,
        default=[100, 200, 100],
        metavar=("DRAWN_FROM", "POOL", "TEST"),
        help="numbers of cases; a pool of 0: what was not drawn",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", type=torch.device, default=DEVICE)
    parser.add_argument("--report", action="store_true", help="only print the tables of what is there")
    args = parser.parse_args()
    globals()["DEVICE"] = args.device
    torch.set_num_threads(1)
    if args.report:
        from label_efficiency_report import report

        report(args.out)
        return
    study = Study(args.dataset, args.plans, tuple(args.sizes))
    for draw, name in itertools.product(args.draws, args.modalities or study.branches):
        run_draw(Draw(study, study.branches[name], args.labels, draw), args.arms, args.out)


class Study:
    """A preprocessed dataset, its branches and the roles of its cases."""

    def __init__(self, dataset: str, plans: str, sizes: tuple[int, ...]) -> None:
        self.dataset, folder = dataset, Path(os.environ["nnUNet_preprocessed"]) / dataset
        self.plans = json.loads((folder / f"{plans}.json").read_text())
        self.dataset_json = json.loads((folder / "dataset.json").read_text())
        config = resolve_block(self.plans, "2d", self.dataset_json, tss_known=False)
        self.branches = {b.name: b for b in build_branches(config, self.plans, "2d", self.dataset_json)}
        self.folder = folder / next(iter(self.branches.values())).configuration.data_identifier
        cases = sorted(path.stem for path in self.folder.glob("*.b2nd") if not path.stem.endswith("_seg"))
        shuffled = [str(case) for case in np.random.default_rng(0).permutation(cases)]
        ends = list(itertools.accumulate(sizes))
        self.drawn_from, self.pool, self.test = (
            shuffled[: ends[0]],
            shuffled[ends[0] : ends[1]],
            shuffled[ends[1] : ends[2]],
        )


@dataclass
class Draw:
    """One choice of labelled cases for one branch, with everything that its arms share."""

    study: Study
    branch: Branch
    labels: int
    seed: int

    @cached_property
    def labelled(self) -> list[str]:
        """The labelled cases, small lesions first, so that every second one makes a fair half.

        Drawn again until `FEWEST` show a lesion: many do not in FLAIR, and without any there is nothing to learn from.
        """
        random = np.random.default_rng(1000 + self.seed)
        while True:
            drawn = random.choice(self.study.drawn_from, self.labels, replace=False)
            sizes = {str(case): int((self.volumes([case])[1][0] > 0).sum()) for case in drawn}
            if sum(size > 0 for size in sizes.values()) >= FEWEST:
                return sorted(sizes, key=sizes.__getitem__)

    @property
    def pool(self) -> list[str]:
        """The study's pool; where it has none, what was not drawn."""
        return self.study.pool or [case for case in self.study.drawn_from if case not in self.labelled]

    @cached_property
    def test(self) -> tuple[list[Tensor], list[Tensor]]:
        """Images and masks of the test cases."""
        return self.volumes(self.study.test)

    @cached_property
    def labelled_samples(self) -> Samples:
        """Augmented samples of all labelled cases."""
        return self.samples(self.dataset(self.labelled), CACHED["labelled"], "labelled")

    @cached_property
    def pool_samples(self) -> Samples:
        """Augmented samples of the pool with their true masks, which only upper bounds read."""
        return self.samples(self.dataset(self.pool, located=False), CACHED["pool"], "pool")

    def dataset(self, cases: list[str], located: bool = True) -> ModalityDataset:
        """The branch's channels and masks; without locations nothing steers the loader to a lesion."""
        own = ModalityDataset(
            labelled_sources(self.study.folder, cases, self.branch.channels, self.branch.lesion_labels, None)
        )
        return own if located else _Unlocated(own)

    def samples(self, dataset: ModalityDataset, count: int, purpose: str) -> Samples:
        """Images and masks as nnU-Net's loader and augmentation make them."""
        reseed(self.seed, self.branch.name, purpose)
        plan, labels = self.branch.configuration, self.branch.label_manager
        square = max(plan.patch_size) / min(plan.patch_size) <= 1.5  # nnU-Net's rule
        angle = math.pi if square else math.radians(15)
        initial = get_patch_size(plan.patch_size, *[(-angle, angle)] * 3, (0.85, 1.25))
        transforms = nnUNetTrainer.get_training_transforms(
            plan.patch_size, (-angle, angle), None, (0, 1), False, use_mask_for_norm=plan.use_mask_for_norm,
            foreground_labels=labels.foreground_labels,
        )  # fmt: skip
        loader = nnUNetDataLoader(
            dataset, BATCH, initial[-2:], plan.patch_size, labels, oversample_foreground_percent=0.33,
            transforms=transforms,
        )  # fmt: skip
        batches = [loader.generate_train_batch() for _ in range(math.ceil(count / BATCH))]
        images = torch.cat([batch["data"].half() for batch in batches])
        return images.to(DEVICE), torch.cat([batch["target"].to(torch.int8) for batch in batches]).to(DEVICE)

    def volumes(self, cases: list[str]) -> tuple[list[Tensor], list[Tensor]]:
        """Whole cases as slices `(Z, C, X, Y)` and `(Z, 1, X, Y)`, padded to what the network can halve."""
        dataset, strides = self.dataset(list(cases)), np.prod(self.branch.configuration.pool_op_kernel_sizes, axis=0)
        images, masks = [], []
        for case in dataset.identifiers:
            image, mask, *_ = dataset.load_case(case)
            pads = [int(-side % stride) for side, stride in zip(image.shape[2:], strides, strict=True)]
            margins = [(0, 0), (0, 0), *((pad // 2, pad - pad // 2) for pad in pads)]
            for kept, own, kind in ((images, image, np.float32), (masks, mask, np.int8)):
                volume = torch.from_numpy(np.pad(np.array(own[:], kind), margins)).transpose(0, 1)
                kept.append(volume.to(DEVICE))
            masks[-1].clamp_(min=0)
        return images, masks


class _Unlocated(ModalityDataset):
    """Cases of which nobody knows where the lesions are."""

    def __init__(self, dataset: ModalityDataset) -> None:
        super().__init__(dataset.sources.values())

    def load_case(self, identifier: str) -> tuple:
        image, mask, previous, properties = super().load_case(identifier)
        return image, mask, previous, properties | {"class_locations": {}}


# ---------------------------------------------------------------------------------------------------- training


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


Extra = Callable[[UNet, int, float], tuple[Tensor, Callable[[nn.Module], Tensor] | None]]


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
    told = curve[first // SCORED_EVERY :]
    best = int(np.argmax(told)) if max(told) > 0 else len(told) - 1
    return first + (best + 1) * SCORED_EVERY, {"cross-fitted": curve}


def _stands_still(curve: list[float]) -> bool:
    """Whether the last `PATIENCE` iterations brought less than `RISE`."""
    lately = PATIENCE // SCORED_EVERY
    return len(curve) > lately and 0 < max(curve[-lately:]) < max(curve[:-lately]) + RISE


# ---------------------------------------------------------------------------------------------------- arms


def new_network(draw: Draw, purpose: str) -> UNet:
    """A He-initialised U-Net."""
    reseed(draw.seed, draw.branch.name, purpose, "initialisation")
    return draw.branch.build_unet().to(DEVICE)


def run_random(draw: Draw, earlier: dict[str, dict]) -> tuple[UNet, dict]:
    """The tuned random start."""

    def begin(samples: Samples) -> Trainee:
        return Trainee(new_network(draw, "random"), batches(samples, draw.seed))

    steps, curves = plateau(draw, begin)
    return train(begin(draw.labelled_samples), steps), {"steps": steps, "curves": curves}


def run_mean_teacher(draw: Draw, earlier: dict[str, dict]) -> tuple[UNet, dict]:
    """The pool inside `segment`."""

    def begin(samples: Samples) -> Trainee:
        pool = batches(draw.pool_samples, draw.seed + 1)
        return Trainee(new_network(draw, "random"), batches(samples, draw.seed), pool, "mean_teacher")

    steps, curves = plateau(draw, begin, WARM_UP)
    return train(begin(draw.labelled_samples), steps), {"steps": steps, "curves": curves}


def run_random_long(draw: Draw, earlier: dict[str, dict]) -> tuple[UNet, dict]:
    """A random start with all the core-seconds of the mean teacher, its search included."""
    per_step = earlier["random"]["seconds"] / earlier["random"]["all steps"]
    steps = round(earlier["mean_teacher"]["seconds"] / per_step)
    trainee = Trainee(new_network(draw, "random"), batches(draw.labelled_samples, draw.seed))
    return train(trainee, steps), {"steps": steps}


def run_pool_masks(draw: Draw, earlier: dict[str, dict]) -> tuple[UNet, dict]:
    """Supervision by the pool's true masks, with the mean teacher's length."""
    steps = max(earlier["mean_teacher"]["steps"], 1000)
    pool = batches(draw.pool_samples, draw.seed + 1)
    trainee = Trainee(new_network(draw, "random"), batches(draw.labelled_samples, draw.seed), pool, "pool_masks")
    return train(trainee, steps), {"steps": steps}


def run_mgcl(draw: Draw, earlier: dict[str, dict], warm: bool = True, masks: bool = False) -> tuple[UNet, dict]:
    """The cascade: pseudo-labels, self-training, pseudo-labels, contrast, `segment`."""
    steps = earlier["random"]["steps"]
    teacher = draw.branch.build_unet().to(DEVICE)
    teacher.load_state_dict(torch.load(earlier["random"]["network"], map_location=DEVICE, weights_only=True))
    pool = pseudo_labelled(draw, teacher, "pseudo_label_1")
    student = continued(draw, "self_train", teacher if warm else None)
    images, labels = (torch.cat(both) for both in zip(draw.labelled_samples, pool, strict=True))
    student = train(Trainee(student, batches((images, labels), draw.seed)), CONTRAST["self_train"])
    pool = draw.pool_samples if masks else pseudo_labelled(draw, student, "pseudo_label_2")
    found = {"lesion share of pool samples": float((pool[1].flatten(1) > 0).any(1).float().mean())}
    network = contrast(draw, pool, student if warm else None, found)
    trainee = Trainee(network, batches(draw.labelled_samples, draw.seed))
    return train(trainee, steps), {"steps": steps, **found}


def pseudo_labelled(draw: Draw, network: UNet, purpose: str) -> Samples:
    """Augmented samples of the pool with a network's masks."""
    dataset = draw.dataset(draw.pool, located=False)
    images, _ = draw.volumes(draw.pool)
    masks = {case: mask.cpu() for case, mask in zip(dataset.identifiers, segment(network, images), strict=True)}
    return draw.samples(_Masked(dataset, masks), CACHED["labelled"] // 2, purpose)


class _Masked(_Unlocated):
    """Cases with masks of a network, which the loader may aim at as nnU-Net does."""

    def __init__(self, dataset: ModalityDataset, masks: dict[str, Tensor]) -> None:
        super().__init__(dataset)
        self.masks = masks
        self.voxels = {case: np.argwhere(mask.numpy()[None] > 0) for case, mask in masks.items()}

    def load_case(self, identifier: str) -> tuple:
        image, _, previous, properties = super().load_case(identifier)
        locations = {1: self.voxels[identifier]}
        return image, self.masks[identifier].numpy()[None], previous, properties | {"class_locations": locations}


def continued(draw: Draw, purpose: str, earlier: UNet | None) -> UNet:
    """A network with the weights of an earlier one, if there is any."""
    network = new_network(draw, purpose)
    if earlier is not None:
        network.load_state_dict(earlier.state_dict())
    return network


def contrast(draw: Draw, pool: Samples, start: UNet | None, found: dict) -> UNet:
    """`coarse`, then `fine`; the samples' labels come from the masks."""
    network = continued(draw, "coarse", start)
    coarse = CoarseConfig()
    rate = LEARNING_RATE if start is None else WARM_CONTRAST_RATE
    model: nn.Module = CoarseModel(network, coarse, None)
    found["coarse"] = minimise(model, batches(pool, draw.seed, 24), CONTRAST["coarse"], rate)
    pretrained = continued(draw, "fine", start)
    load_encoder(pretrained, encoder_state(network))
    fine = FineConfig(patch_size=4)
    model = FineModel(pretrained, fine, None)
    found["fine"] = minimise(model, batches(pool, draw.seed, 6), CONTRAST["fine"], rate)
    network = continued(draw, "random", start)
    load_encoder(network, encoder_state(pretrained))
    load_decoder(network, decoder_state(pretrained))
    return network.requires_grad_(True)


def minimise(model: nn.Module, stream: Iterator[Samples], steps: int, rate: float) -> dict:
    """Trains by contrast with a cosine schedule; returns the first and the last loss."""
    model.to(DEVICE)
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


RUNS = {
    "random": run_random,
    "mgcl": run_mgcl,
    "mgcl_cold": partial(run_mgcl, warm=False),
    "mgcl_masks": partial(run_mgcl, masks=True),
    "mean_teacher": run_mean_teacher,
    "random_long": run_random_long,
    "pool_masks": run_pool_masks,
}


# ---------------------------------------------------------------------------------------------------- a draw


def run_draw(draw: Draw, arms: list[str], out: Path) -> None:
    """Runs the arms that have no result; the order of `ARMS` is that of what they need of each other."""
    out.mkdir(parents=True, exist_ok=True)
    name = f"{draw.study.dataset}_{draw.branch.name}_{draw.labels}_{draw.seed}"
    earlier: dict[str, dict] = {}
    for arm in [arm for arm in ARMS if arm in arms]:
        path = out / f"{name}_{arm}.json"
        if not path.is_file():
            started = time.process_time()
            network, found = RUNS[arm](draw, earlier)
            result = describe(draw, arm, network, found, time.process_time() - started)
            result["network"] = str(path.with_suffix(".pth").resolve())
            torch.save(network.state_dict(), result["network"])
            path.write_text(json.dumps(result, indent=1))
            print(
                f"{name} {arm}: Dice {result['dice']:.3f}, {result['steps']} steps, {result['seconds']:.0f} s",
                flush=True,
            )
        earlier[arm] = json.loads(path.read_text())


def describe(draw: Draw, arm: str, network: UNet, found: dict, seconds: float) -> dict:
    """The result of an arm: scores of every test case, false positives, cost, versions."""
    images, masks = draw.test
    predicted = segment(network, images)
    scores = dice_scores(predicted, masks, draw.branch.label_manager.foreground_labels)
    empty = [int((p > 0).sum()) for p, mask in zip(predicted, masks, strict=True) if not bool((mask > 0).any())]
    curves = found.get("curves", {})
    return {
        "dataset": draw.study.dataset, "modality": draw.branch.name, "labels": draw.labels, "draw": draw.seed,
        "arm": arm,
        "dice": mean_score(scores), "cases": dict(zip(draw.study.test, scores, strict=True)),
        "false positive voxels in cases without lesion": float(np.mean(empty)) if empty else None,
        "labelled": draw.labelled, "seconds": seconds,
        "all steps": found["steps"] + 2 * SCORED_EVERY * sum(map(len, curves.values())), **found,
        "versions": {name: version(name) for name in ("nnunetv2", "torch", "numpy")}
        | {"python": platform.python_version()},
        "commit": commit(),
    }  # fmt: skip


def commit() -> str:
    """The commit of this repository, with a mark where files have changed since."""
    here = Path(__file__).parent
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    ).stdout.strip()


if __name__ == "__main__":
    main()
