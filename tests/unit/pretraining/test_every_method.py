"""What holds for every trainer's phases before `segment`, those of the paper and those that it is compared with."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunet_mgcl.engine import training_loop
from nnunet_mgcl.plan.config import BLOCKS, PhaseSettings
from nnunet_mgcl.pretraining import pseudo_label, shared
from nnunet_mgcl.pretraining.comparators.lclpl import LCLPL
from nnunet_mgcl.pretraining.comparators.mixup import Mixup
from nnunet_mgcl.pretraining.comparators.semi_cl import SemiCL
from nnunet_mgcl.pretraining.course import hand_over, pretrain
from nnunet_mgcl.pretraining.handover import PARTS, handed_on
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.pretraining.pseudo_label import label_from_logits
from nnunet_mgcl.training import comparators, variants
from nnunet_mgcl.training.base_trainer import BaseTrainer
from tests.conftest import rewrite_case

TRAINERS = {
    name: trainer
    for module in (comparators, variants)
    for name, trainer in vars(module).items()
    if isinstance(trainer, type) and issubclass(trainer, BaseTrainer) and trainer.pretraining
}
READERS_OF_MASKS = (SemiCL, LCLPL, Mixup)
"""In a way of their own."""
OTHER_LABELS = ("regions", "ignore", "two lesions")
TINY = {"epochs": 2, "batch_size": 4, "embedding_dim": 8, "lr": 0.01, "stretch": 1.0, "patch_size": 8}
SETTINGS = {
    name: {key: value for key, value in TINY.items() if key in block.settings.model_fields}
    for name, block in BLOCKS.items()
    if issubclass(block.settings, PhaseSettings)
} | {"pseudo_label": {"confidence": 0.0, "mirroring": False}}


@pytest.fixture(params=sorted(TRAINERS))
def phases(request) -> tuple[Pretext, ...]:
    return tuple(TRAINERS[request.param].pretraining)


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """A pool with a manifest, no pictures, and a lesion in every pseudo-label."""
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    digests = {"A": "of pool_0 and pool_1", "B": "of none"}
    monkeypatch.setattr(shared, "pool_digests", lambda _, names: {name: digests[name] for name in names})
    monkeypatch.setattr("nnunet_mgcl.engine.curves.Curves._draw", lambda _: None)

    def label(branch, logits):
        segmentation, _ = label_from_logits(branch, logits)
        segmentation[:] = 0
        segmentation[1:3, 8:20, 8:20] = 1
        return segmentation, 0.9

    monkeypatch.setattr(pseudo_label, "label_from_logits", label)


@pytest.fixture
def make(make_context, tmp_path):
    def make(folder="fold_0", **options):
        context = make_context(mgcl=SETTINGS, **options)
        return replace(context, layout=type(context.layout)(tmp_path / folder))

    return make


def with_residual_encoders(plans):
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    architecture["arch_kwargs"]["n_blocks_per_stage"] = [1] * len(architecture["arch_kwargs"].pop("n_conv_per_stage"))


def left_by(phases, context):
    """What every phase has left of every branch."""
    return {
        (phase.name, branch.name): handed_on(phase.name, branch.name, context.layout)
        for phase in phases
        for branch in context.branches
        if phase.trains and (context.layout.phase(phase.name, branch.name) / "network.pth").exists()
    }


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize(
    ("dimensions", "labels"), [(2, "masks"), (2, "regions"), (2, "ignore"), (2, "two lesions"), (3, "shared")]
)
def test_every_phase_trains_its_parts_and_hands_them_on(phases, make, plans, dimensions, labels) -> None:
    if dimensions == 3:
        with_residual_encoders(plans)
    if labels in OTHER_LABELS and not any(type(phase) in READERS_OF_MASKS for phase in phases):
        pytest.skip("it reads masks as others do, or none")
    context = make(dimensions=dimensions, labels=labels)
    pretrain(phases, context)
    hand_over(phases, context)
    left = left_by(phases, context)
    assert {name for name, _ in left} == {phase.name for phase in phases if phase.trains}
    start: dict = {}
    for phase in phases:
        for (name, branch), state in left.items():
            if name != phase.name:
                continue
            trained = [key for key, value in state.items() if value.is_floating_point() and value.ndim > 1]
            assert trained and all(bool(state[key].isfinite().all()) for key in trained)
            before = start.setdefault(branch, {}).get(phase.trains, {})
            moved = [key for key in trained if key in before and not torch.equal(state[key], before[key])]
            assert not before or moved, f"{name} {branch} has moved nothing"
            start[branch][phase.trains] = state
    network = {branch.name: unet for branch, unet in zip(context.branches, context.network.branches, strict=True)}
    last = {part: phase for phase in phases for part in phase.trains}
    for part in PARTS[:2]:
        if part not in last:
            continue
        state = left[last[part].name, "A"]
        prefix = "" if len(last[part].trains) == 1 else f"{part}."
        own = getattr(network["A"], part).state_dict()
        layers = {key: value for key, value in own.items() if not key.startswith(("encoder.", "seg_layers."))}
        assert layers and all(torch.equal(value, state[prefix + key]) for key, value in layers.items())


def test_a_killed_run_ends_with_the_same_networks(phases, make, monkeypatch, tmp_path) -> None:
    whole, killed = make("whole"), make("killed")
    pretrain(phases, whole)
    shutil.rmtree(tmp_path / "results", ignore_errors=True)  # the store

    class Killed(BaseException):
        """As if the process had been killed."""

    finish, seen = training_loop._ModuleTrainer._finish_epoch, set()

    def killing(trainer, *arguments):
        finish(trainer, *arguments)
        if (job := (trainer.job.phase, trainer.job.branch)) not in seen:
            seen.add(job)
            raise Killed

    monkeypatch.setattr(training_loop._ModuleTrainer, "_finish_epoch", killing)
    for _ in range(40):
        try:
            pretrain(phases, killed := make("killed"))
            break
        except Killed:
            continue
    expected, found = left_by(phases, whole), left_by(phases, killed)
    assert seen and expected.keys() == found.keys()
    assert all(same(state, found[name]) for name, state in expected.items())


def test_other_masks_change_no_label_free_phase(phases, make) -> None:
    """Without a pool they see the training cases' images, and no more of them than that."""
    label_free = [phase for phase in phases if phase.label_free]
    if not label_free:
        pytest.skip("its phases see labels")
    one, other = (make(folder, labels="shared", pool={"A": [], "B": []}) for folder in ("one", "other"))
    pretrain(label_free, one)
    for case in one.train_cases:
        rewrite_case(
            Path(one.labelled_folder), case, mask=lambda mask: np.where(mask < 0, mask, 1 - mask)
        )  # -1: outside
    pretrain(label_free, other)
    expected, found = (left_by(label_free, context) for context in (one, other))
    assert len(expected) == 2 * len(label_free)
    assert all(same(state, found[name]) for name, state in expected.items())
