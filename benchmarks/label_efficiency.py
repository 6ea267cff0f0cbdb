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
- `random_long`: as many supervised steps as the mean teacher's training and search took core-seconds (`equal-total`;
  on a CPU only, where core-seconds are what is spent).
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
import os
import platform
import subprocess
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from label_efficiency_data import CACHED, Draw, Masked, Samples, Study
from label_efficiency_training import (
    LEARNING_RATE,
    SCORED_EVERY,
    WARM_UP,
    Trainee,
    batches,
    dice_scores,
    mean_score,
    minimise,
    plateau,
    segment,
    train,
)
from torch import nn

from nnunet_mgcl.network.branch import UNet, decoder_state, encoder_state, load_decoder, load_encoder
from nnunet_mgcl.pretraining.coarse import CoarseModel, CoarseSettings
from nnunet_mgcl.pretraining.fine import FineModel, FineSettings

ARMS = ("random", "mgcl", "mgcl_cold", "mgcl_masks", "mean_teacher", "random_long", "pool_masks")
CONTRAST = {"self_train": 500, "coarse": 400, "fine": 300}
"""Iterations of the cascade's phases."""
WARM_CONTRAST_RATE = 1e-3
"""Learning rate of `coarse` and `fine` where they go on with trained weights."""


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
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--report", action="store_true", help="only print the tables of what is there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.report:
        from label_efficiency_report import report

        report(args.out)
        return
    study = Study(args.dataset, args.plans, tuple(args.sizes), args.device)
    for draw, name in itertools.product(args.draws, args.modalities or study.branches):
        run_draw(Draw(study, study.branches[name], args.labels, draw), args.arms, args.out)


def run_random(draw: Draw, earlier: dict[str, dict]) -> tuple[UNet, dict]:
    """The tuned random start."""

    def begin(samples: Samples) -> Trainee:
        return Trainee(draw.new_network("random"), batches(samples, draw.seed))

    steps, curves = plateau(draw, begin)
    return train(begin(draw.labelled_samples), steps), {"steps": steps, "curves": curves}


def run_mean_teacher(draw: Draw, earlier: dict[str, dict]) -> tuple[UNet, dict]:
    """The pool inside `segment`."""

    def begin(samples: Samples) -> Trainee:
        pool = batches(draw.pool_samples, draw.seed + 1)
        return Trainee(draw.new_network("random"), batches(samples, draw.seed), pool, "mean_teacher")

    steps, curves = plateau(draw, begin, WARM_UP)
    return train(begin(draw.labelled_samples), steps), {"steps": steps, "curves": curves}


def run_random_long(draw: Draw, earlier: dict[str, dict]) -> tuple[UNet, dict]:
    """A random start with all the core-seconds of the mean teacher, its search included."""
    per_step = earlier["random"]["seconds"] / earlier["random"]["all steps"]
    steps = round(earlier["mean_teacher"]["seconds"] / per_step)
    trainee = Trainee(draw.new_network("random"), batches(draw.labelled_samples, draw.seed))
    return train(trainee, steps), {"steps": steps}


def run_pool_masks(draw: Draw, earlier: dict[str, dict]) -> tuple[UNet, dict]:
    """Supervision by the pool's true masks, with the mean teacher's length."""
    steps = max(earlier["mean_teacher"]["steps"], 1000)
    pool = batches(draw.pool_samples, draw.seed + 1)
    trainee = Trainee(draw.new_network("random"), batches(draw.labelled_samples, draw.seed), pool, "pool_masks")
    return train(trainee, steps), {"steps": steps}


def run_mgcl(draw: Draw, earlier: dict[str, dict], warm: bool = True, masks: bool = False) -> tuple[UNet, dict]:
    """The cascade: pseudo-labels, self-training, pseudo-labels, contrast, `segment`."""
    steps = earlier["random"]["steps"]
    teacher = draw.new_network("seed")
    teacher.load_state_dict(torch.load(earlier["random"]["network"], map_location=draw.study.device, weights_only=True))
    pool = pseudo_labelled(draw, teacher, "pseudo_label_1")
    student = continued(draw, "self_train", teacher if warm else None)
    images, labels = (torch.cat(both) for both in zip(draw.labelled_samples, pool, strict=True))
    student = train(Trainee(student, batches((images, labels), draw.seed)), CONTRAST["self_train"])
    pool = true_masks(draw) if masks else pseudo_labelled(draw, student, "pseudo_label_2")
    found = {"lesion share of pool samples": float((pool[1].flatten(1) > 0).any(1).float().mean())}
    network = contrast(draw, pool, student if warm else None, found)
    trainee = Trainee(network, batches(draw.labelled_samples, draw.seed))
    return train(trainee, steps), {"steps": steps, **found}


def true_masks(draw: Draw) -> Samples:
    """As `pseudo_labelled`, with the pool's true masks."""
    return draw.samples(draw.dataset(draw.pool), CACHED["labelled"] // 2, "pseudo_label_2")


def pseudo_labelled(draw: Draw, network: UNet, purpose: str) -> Samples:
    """Augmented samples of the pool with a network's masks."""
    dataset = draw.dataset(draw.pool, located=False)
    images, _ = draw.volumes(draw.pool)
    masks = {case: mask.cpu() for case, mask in zip(dataset.identifiers, segment(network, images), strict=True)}
    return draw.samples(Masked(dataset, masks), CACHED["labelled"] // 2, purpose)


def continued(draw: Draw, purpose: str, earlier: UNet | None) -> UNet:
    """A network with the weights of an earlier one, if there is any."""
    network = draw.new_network(purpose)
    if earlier is not None:
        network.load_state_dict(earlier.state_dict())
    return network


def contrast(draw: Draw, pool: Samples, start: UNet | None, found: dict) -> UNet:
    """`coarse`, then `fine`; the samples' labels come from the masks."""
    network = continued(draw, "coarse", start)
    coarse = CoarseSettings()
    rate = LEARNING_RATE if start is None else WARM_CONTRAST_RATE
    model: nn.Module = CoarseModel(network, coarse, None).to(draw.study.device)
    found["coarse"] = minimise(model, batches(pool, draw.seed, 24), CONTRAST["coarse"], rate)
    pretrained = continued(draw, "fine", start)
    load_encoder(pretrained, encoder_state(network))
    fine = FineSettings(patch_size=4)
    model = FineModel(pretrained, fine, None).to(draw.study.device)
    found["fine"] = minimise(model, batches(pool, draw.seed, 6), CONTRAST["fine"], rate)
    network = continued(draw, "random", start)
    load_encoder(network, encoder_state(pretrained))
    load_decoder(network, decoder_state(pretrained))
    return network.requires_grad_(True)


RUNS = {
    "random": run_random,
    "mgcl": run_mgcl,
    "mgcl_cold": partial(run_mgcl, warm=False),
    "mgcl_masks": partial(run_mgcl, masks=True),
    "mean_teacher": run_mean_teacher,
    "random_long": run_random_long,
    "pool_masks": run_pool_masks,
}


NEEDS = {
    "mgcl": {"random"},
    "mgcl_cold": {"random"},
    "mgcl_masks": {"random"},
    "random_long": {"random", "mean_teacher"},
    "pool_masks": {"mean_teacher"},
}
"""Arm -> the arms whose length, network or cost it takes."""


def with_what_they_need(arms: list[str]) -> list[str]:
    """The arms and those that they need, each after what it needs."""
    wanted = set(arms).union(*(NEEDS.get(arm, ()) for arm in arms))
    return [arm for arm in ARMS if arm in wanted]


def run_draw(draw: Draw, arms: list[str], out: Path) -> None:
    """Runs the arms that have no result, and those that they need."""
    out.mkdir(parents=True, exist_ok=True)
    name = f"{draw.study.dataset}_{draw.branch.name}_{draw.labels}_{draw.seed}"
    earlier: dict[str, dict] = {}
    for arm in with_what_they_need(arms):
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
        "commit": commit(), "device": draw.study.device_name,
    }  # fmt: skip


def commit() -> str:
    """The commit of this repository, with a mark where files have changed since."""
    here = Path(__file__).parent
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    ).stdout.strip()


if __name__ == "__main__":
    main()
