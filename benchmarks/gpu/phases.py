"""One iteration of every phase, forward, backward and step, beside one of nnU-Net's own trainer on the same plan.

The batches lie on the device: loading and augmentation do not count. `seed` to `fine` train one branch, as the phases
do; `segment` trains all. The peak is of the whole process. "estimate GB" is what `mgcl plan` went by.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any
from unittest import mock

import torch
from gpu.dataset import noise, planned
from gpu.rows import Clock, row
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.data.prepare import Prepared
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.curves import Curves
from nnunet_mgcl.engine.training_loop import Batch, Job, train
from nnunet_mgcl.plan.plans import deep_merge
from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.contrast.phase import ContrastPhase, _step
from nnunet_mgcl.pretraining.contrast.watch import ContrastWatch
from nnunet_mgcl.pretraining.fine import Fine
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.pretraining.self_train import SelfTrain
from nnunet_mgcl.pretraining.teacher import Teacher
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer
from nnunet_mgcl.tss.phase import COMPARED, TSS

WARM, REPETITIONS = 3, 8
VOLUMES_WARM, VOLUMES_REPETITIONS = 1, 1
"""Of `tss`: a batch of it is 24 whole patients."""


def run(device: str) -> None:
    """Prints the rows; what is compiled comes last, since it takes longest."""
    torch.backends.cudnn.benchmark = True  # as nnUNetv2_train has it
    os.environ["nnUNet_compile"] = "f"
    # On a CPU nothing is to be learnt from generated code, and a compiler may be missing.
    plain = mock.patch.object(torch, "compile", partial(torch.compile, backend="aot_eager"))
    no_pictures = mock.patch.object(Curves, "_draw")  # a second a row
    with planned(device) as (plans, dataset_json), no_pictures, plain if device == "cpu" else nullcontext():
        make = lru_cache(1)(partial(trainer, plans, dataset_json, torch.device(device)))  # one at a time in memory
        for configuration in ("2d", "3d_fullres"):
            measured(make, configuration, None, nnUNetTrainer)
            for phase in (Teacher(), SelfTrain(), Coarse(), Fine(), TSS(), None):
                measured(make, configuration, phase)
        measured(make, "3d_fullres", None, recompute=False)
        measured(make, "2d", Coarse(), compiled=True)
        measured(make, "2d", Fine(), compiled=True)
        measured(make, "2d", None, nnUNetTrainer, compiled=True)
        measured(make, "2d", None, compiled=True)


def trainer(
    plans: dict[str, Any],
    dataset_json: dict[str, Any],
    device: torch.device,
    which: type[nnUNetTrainer],
    configuration: str,
    recompute: bool,
) -> nnUNetTrainer:
    """A trainer of fold 0 that is set up; with `recompute` as the plan has it."""
    changes = {} if recompute else {"mgcl": {"segment": {"checkpointing": False}}}
    content = deep_merge(plans, {"configurations": {configuration: changes}}) | {"continue_training": False}
    made = which(deepcopy(content), configuration, 0, deepcopy(dataset_json), device)
    made.initialize()
    return made


def measured(
    make: Callable[..., nnUNetTrainer],
    configuration: str,
    phase: Pretext | TSS | None,
    which: type[nnUNetTrainer] = MGCLTrainer,
    recompute: bool = True,
    compiled: bool = False,
) -> None:
    """Prints a row: of a phase, or without one of a trainer's own step."""
    name = phase.name if phase else "segment" if which is MGCLTrainer else "nnU-Net"
    about = {"plan": configuration, "phase": name, "compiled": "yes" if compiled else "no"}

    def measure() -> dict[str, Any]:
        made = make(which, configuration, recompute)
        if phase is None:
            return trainer_step(made, compiled)
        context = made._build_context(Prepared(made.config, made.tss_table(), [], {}))
        context.compiles = compiled
        return volumes_step(context, phase) if isinstance(phase, TSS) else phase_step(context, phase)

    row(about, measure)
    gc.collect()
    torch._dynamo.reset()


def trainer_step(made: nnUNetTrainer, compiled: bool) -> dict[str, Any]:
    """nnU-Net's training step, or `segment`'s, with deep supervision as the plan has it."""
    plan = made.configuration_manager
    if compiled:  # nnU-Net does so before it makes the optimiser, of the same parameters
        made.network = torch.compile(made.network)
    data, target = noise(made.batch_size, made.num_input_channels, plan.patch_size, made.device)
    scales = made._get_deep_supervision_scales() or [[1.0] * len(plan.patch_size)]
    sizes = [[max(1, round(side * own)) for side, own in zip(plan.patch_size, scale, strict=True)] for scale in scales]
    targets = [torch.nn.functional.interpolate(target.float(), size) for size in sizes]
    batch = {"data": data, "target": targets if made.enable_deep_supervision else targets[0], "keys": ["case"]}
    made.network.train()
    clock = Clock(made.device, WARM)
    for _ in range(WARM + REPETITIONS):
        clock.tick()
        made.train_step(batch)
    clock.tick()
    found = {"batch": made.batch_size, "patch": "x".join(map(str, plan.patch_size))} | clock.result()
    if isinstance(made, MGCLTrainer):
        found["estimate GB"] = round(made.memory.segment(), 1)
        found["recomputes"] = str(made.config.segment.checkpointing)
    return found


def phase_step(context: FoldContext, phase: Pretext) -> dict[str, Any]:
    """A phase's own job on its first branch, with batches that are there already."""
    branch, nothing = context.branches[0], ModalityDataset([])
    unet = phase.start(context, branch, ())
    settings = phase.settings(context.config)
    if isinstance(phase, ContrastPhase):
        job = contrast_job(context, phase, phase.model(context, branch, unet), nothing)
    else:
        job = phase._job(context, branch, unet, nothing, 1)  # type: ignore[attr-defined]  # the supervised phases have it
    shape = branch.configuration.patch_size
    data, target = noise(settings.batch_size, len(branch.channels), shape, context.device)
    batch = {"data": data, "target": target, "keys": ["case"]}
    clock = Clock(context.device, WARM)
    iterations = WARM + REPETITIONS + 1  # the last one only has a beginning
    name = f"{branch.name}{' compiled' * context.compiles}"  # a training of one name would be resumed
    train(context, replace(job, branch=name, epochs=1, iterations=iterations, batches=lambda: ticking(clock, batch)))
    found = {"batch": settings.batch_size, "patch": "x".join(map(str, shape))} | clock.result()
    if phase.name in context.memory.phases:
        found["estimate GB"] = round(context.memory.phase(phase.name, settings.batch_size), 1)
    return found


def contrast_job(context: FoldContext, phase: ContrastPhase, model: torch.nn.Module, nothing: ModalityDataset) -> Job:
    """As `ContrastPhase` makes it, without cases left out."""
    branch, settings = context.branches[0], phase.settings(context.config)
    watch = ContrastWatch(context, phase.name, branch, 1, settings.temperature, None, lambda: model)
    step = partial(_step, context, settings.temperature, watch)
    return replace(phase.job(context, branch, model, nothing), step=step, observer=watch)


def volumes_step(context: FoldContext, phase: TSS) -> dict[str, Any]:
    """The heads that read whole volumes, trained together as `tss.compared` has them."""
    tss = context.config.tss.model_copy(update={"epochs": 1})
    context.config = context.config.model_copy(update={"tss": tss})
    heads = {kind: phase._new_head(context, kind) for kind in tss.compared if kind != "lesion"}
    channels = sum(len(branch.channels) for branch in context.branches)
    images, _ = noise(tss.batch_size, channels, [tss.slices, *tss.size], context.device)
    batch = {
        "volumes": images, "valid": torch.ones(images.shape[0], tss.slices, dtype=torch.bool),
        "target": torch.arange(len(images)) % 2.0, "keys": ["case"],
    }  # fmt: skip
    clock = Clock(context.device, VOLUMES_WARM)
    iterations = VOLUMES_WARM + VOLUMES_REPETITIONS + 1
    with mock.patch("nnunet_mgcl.tss.phase._open_volumes", lambda *_: ticking(clock, batch)):
        phase._descend(context, COMPARED, heads, ["case"] * (iterations * tss.batch_size))
    size = "x".join(map(str, (tss.slices, *tss.size)))
    return {"batch": tss.batch_size, "patch": size} | clock.result()


@contextmanager
def ticking(clock: Clock, batch: Batch) -> Iterator[Iterator[Batch]]:
    """The same batch for ever; each time that one is fetched, an iteration begins."""

    def batches() -> Iterator[Batch]:
        while True:
            clock.tick()
            yield batch

    yield batches()
