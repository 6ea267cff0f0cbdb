"""One of two gloo ranks for test_two_ranks.py: `phases_rank.py RANK FOLDER`.

Leaves `RANK.json` in the folder: what this rank trained, wrote and logged in each of the scenarios below.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from datetime import timedelta
from functools import partial
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from conftest import build_context
from torch import nn

from nnunet_mgcl.engine import training_loop
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.curves import Curves
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.plan.plans import deep_merge
from nnunet_mgcl.pretraining import pseudo_label
from nnunet_mgcl.pretraining.contrast import phase as contrast
from nnunet_mgcl.pretraining.course import hand_over, pretrain
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.training import comparators as comparator_trainers
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer
from nnunet_mgcl.tss.phase import TSS, forget_head

RANK, FOLDER = int(sys.argv[1]), Path(sys.argv[2])


class Killed(BaseException):
    """As if both processes had been killed."""


class Record:
    """Collects what this rank does; the scenario that is under way has its own entry."""

    def __init__(self) -> None:
        self.all: dict[str, dict[str, Any]] = {}
        self.killed: set[str] | None = None

    def start(self, scenario: str, kills: bool = False) -> dict[str, Any]:
        self.now = self.all[scenario] = {
            "trained": [],
            "written": [],
            "labelled": [],
            "volumes": [],
            "losses": [],
            "log": [],
        }
        self.killed = set() if kills else None
        return self.now

    def epoch(self, part: str, module: nn.Module) -> None:
        self.now["trained"].append([part, digest(module.parameters())])
        if self.killed is not None and part not in self.killed:
            self.killed.add(part)
            raise Killed

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Files come into being by `os.replace`, which the interpreter reports as `os.rename`."""
        if event == "os.rename" and "fold_0" in str(arguments[1]):
            self.now["written"].append(str(arguments[1]).partition("fold_0/")[2])


def digest(tensors: Any) -> str:
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()


def watch(record: Record) -> None:
    require_finite = training_loop._ModuleTrainer._require_finite
    finish_epoch, save, loss = training_loop._ModuleTrainer._finish_epoch, pseudo_label.save_pseudo_label, TSS._loss

    def finished(trainer: Any, *arguments: Any) -> None:
        finish_epoch(trainer, *arguments)
        record.epoch(f"{trainer.job.phase}/{trainer.job.branch}", trainer.module)

    def saved(folder: Path, case: str, *arguments: Any) -> None:
        record.now["labelled"].append(f"{folder.parent.name}/{folder.name}/{case}")
        save(folder, case, *arguments)

    def volumes(phase: TSS, context: FoldContext, heads: Any, module: nn.Module, batch: Any) -> torch.Tensor:
        if "mrff" in heads:  # the one of the checkpoint
            record.now["volumes"].append(list(batch["keys"]))
        return loss(phase, context, heads, module, batch)

    def checked(trainer: Any, epoch: int, value: float, batch: dict[str, Any]) -> None:
        record.now["losses"].append([trainer.job.phase, value])
        require_finite(trainer, epoch, value, batch)

    training_loop._ModuleTrainer._finish_epoch, pseudo_label.save_pseudo_label = finished, saved
    training_loop._ModuleTrainer._require_finite = checked
    TSS._loss = volumes
    Curves._draw = lambda _: None  # a third of a second each
    sys.addaudithook(record.audit)


def context_maker(record: Record, folder: Path, **arguments: Any) -> Callable[[], FoldContext]:
    content = json.loads((FOLDER / "dataset.json").read_text())
    make = partial(build_context, folder, content["plans"], content["dataset_json"], rank=RANK, world_size=2)

    def make_context() -> FoldContext:
        """The first rank writes the cases; the others find them."""
        if RANK == 1:
            dist.barrier()
        context = make(record.now["log"], **arguments)
        if RANK == 0:
            dist.barrier()
        return context

    return make_context


def run_until_done(make_context: Callable[[], FoldContext], record: Record) -> FoldContext:
    """The whole cascade; after a kill it starts again as a new process would."""
    while True:
        context = make_context()
        try:
            pretrain(MGCLTrainer.pretraining, context)
            forget_head(context)
            hand_over(MGCLTrainer.pretraining, context)
            segment(context, record)
            TSS().run(context)
            return context
        except Killed:
            continue


def segment(context: FoldContext, record: Record) -> None:
    """Three steps of the whole network, and of its twin that recomputes its activations."""
    twin = deepcopy(context.network)
    twin.checkpointing = True
    record.now["checkpointed"] = three_steps(context, twin)
    record.now["trained"] += three_steps(context, context.network)


def three_steps(context: FoldContext, network: MGCLNetwork) -> list[list[str]]:
    """Deep supervision and the trainer's own loss; returns what a phase records of its epochs."""
    trainer = trainer_without_cuda(context)
    loss, patch, digests = trainer._build_loss(), context.configuration.patch_size, []
    network.train().deep_supervision = True
    wrapped = context.wrap(network)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 0.01)
    torch.manual_seed(RANK)
    for _ in range(3):
        optimizer.zero_grad()
        target = torch.randint(4, (2, 1, *patch)).float()
        targets = [nn.functional.interpolate(target, scale_factor=s) for s in trainer._get_deep_supervision_scales()]
        loss(wrapped(torch.randn(2, 3, *patch)), targets).backward()
        optimizer.step()
        digests.append(["segment", digest(network.parameters())])
    network.deep_supervision = False
    return digests


def trainer_without_cuda(context: FoldContext) -> MGCLTrainer:
    """nnU-Net's `__init__` is left out: wherever there are ranks, it wants CUDA."""
    trainer = MGCLTrainer.__new__(MGCLTrainer)
    trainer.config, trainer.device, trainer.is_ddp = context.config, context.device, True
    trainer.configuration_manager, trainer.enable_deep_supervision = context.configuration, True
    trainer.label_manager = SimpleNamespace(has_regions=False, ignore_label=None, num_segmentation_heads=4)
    return trainer


def results(context: FoldContext) -> dict[str, str]:
    """Digests of all networks that lie on the disk and of the one in memory."""
    found = {"network": digest(context.network.parameters())}
    for path in sorted(context.layout.phases.rglob("network.pth")):
        weights = torch.load(path, weights_only=True)
        found[str(path.relative_to(context.layout.phases))] = digest(weights.values())
    return found


def cascade(record: Record, scenario: str, folder: str, kills: bool = False, **arguments: Any) -> None:
    entry = record.start(scenario, kills)
    arguments["mgcl"] = deep_merge({"tss": {"compared": ["lesion", "mlp"]}}, arguments.get("mgcl", {}))
    context = run_until_done(context_maker(record, FOLDER / folder, **arguments), record)
    dist.barrier()
    entry["results"] = results(context)
    entry["files"] = sorted(str(p.relative_to(context.layout.phases)) for p in context.layout.phases.rglob("*"))


def comparators(record: Record) -> None:
    """The phases of every other trainer but those that `cascade` runs."""
    for trainer in (getattr(comparator_trainers, name) for name in sorted(vars(comparator_trainers))):
        if not (isinstance(trainer, type) and trainer.__module__ == comparator_trainers.__name__):
            continue
        blocks = {phase.block for phase in trainer.pretraining if phase.trains}
        settings = {block: {"epochs": 1, "batch_size": 4, "lr": 0.01} for block in blocks}
        settings |= {"pseudo_label": {"confidence": 0.0, "mirroring": False}}
        entry = record.start(trainer.__name__)
        context = context_maker(record, FOLDER / trainer.__name__, mgcl=settings)()
        for number, phase in enumerate(trainer.pretraining):
            phase.run(context.without_labels() if phase.label_free else context, trainer.pretraining[:number])
        hand_over(trainer.pretraining, context)
        dist.barrier()
        entry["results"] = results(context)


def train_toy(context: FoldContext, module: nn.Module, step: Any, **batch: Any) -> None:
    """Four epochs of two batches, which are all the same."""
    stream = partial(nullcontext, repeat(batch | {"keys": [f"case_of_rank_{RANK}"]}))
    training_loop.train(context, training_loop.Job("fine", "A", module, context.config.fine, True, 4, 2, stream, step))


def one_rank_fails(record: Record) -> None:
    """In the second epoch the first rank's loss is NaN, the other's is not."""
    entry, calls = record.start("NaN"), []

    def step(module: nn.Module, batch: dict[str, Any]) -> tuple[torch.Tensor, None]:
        calls.append(1)
        loss = module(batch["data"]).square().mean()
        return (loss * float("nan") if RANK == 0 and len(calls) == 3 else loss), None

    try:
        train_toy(context_maker(record, FOLDER / "nan")(), nn.Linear(3, 1), step, data=torch.ones(1, 3))
    except UserError as error:
        entry["error"], entry["calls"] = str(error), len(calls)


class Embedding(nn.Linear):
    """Stands in for what the contrastive phases train."""

    def forward(self, data: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(data), target


def one_class_a_rank(record: Record) -> None:
    """Each rank's batches hold a single class, but not the same."""
    record.start("one class a rank")
    context = context_maker(record, FOLDER / "classes")()
    torch.manual_seed(RANK)
    batch = {"data": torch.randn(4, 3), "target": torch.full((4,), RANK)}
    watch = contrast.ContrastWatch(context, "fine", context.branches[0], 4, 0.1, None, torch.nn.Identity)
    train_toy(context, Embedding(3, 5), partial(contrast._step, context, 0.1, watch), **batch)
    record.now["batches"] = watch._batches


def main() -> None:
    dist.init_process_group(
        "gloo", init_method=(FOLDER / "rendezvous").as_uri(), rank=RANK, world_size=2, timeout=timedelta(seconds=60)
    )
    record = Record()
    watch(record)
    long = {"tss": {"epochs": 4}, "seed": {"stretch": 2.0}}
    short = {phase: {"epochs": 1} for phase in ("seed", "self_train", "coarse", "fine", "tss")}
    short["seed"] |= long["seed"]
    cascade(record, "whole", "whole", mgcl=long)
    cascade(record, "killed", "killed", mgcl=long, kills=True)
    cascade(record, "3d", "3d", mgcl=short, dimensions=3, norm="BatchNorm")
    comparators(record)
    one_rank_fails(record)
    one_class_a_rank(record)
    (FOLDER / f"{RANK}.json").write_text(json.dumps(record.all))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
