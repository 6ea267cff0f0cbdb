"""`warm_start`: which weights each phase begins with."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from nnunet_mgcl.pretraining.segment import Segment

from nnunet_mgcl.pretraining import supervised
from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.contrast import phase as contrast
from nnunet_mgcl.pretraining.fine import Fine
from nnunet_mgcl.pretraining.teacher import Seed, SelfTrain

from .test_supervised import write_confidences

FIRST, IN_DECODER = "stages.0.0.convs.0.conv.weight", "decoder.stages.0.convs.0.conv.weight"


@pytest.fixture
def starts(monkeypatch):
    """The weights of every module whose training begins, by phase and branch."""
    seen = {}

    def spy(train):
        def begin(context, job):
            seen[job.phase, job.branch] = deepcopy(job.module.state_dict())
            return train(context, job)

        return begin

    for module in (supervised, contrast):
        monkeypatch.setattr(module, "train", spy(module.train))
    return seen


def run_all(context, write_pseudo_labels):
    Seed().run(context)
    write_pseudo_labels(context, context.branches[0], 1)
    write_confidences(context, 0.9, 0.9)
    SelfTrain().run(context)
    write_pseudo_labels(context, context.branches[0], 2)
    for phase in (Coarse, Fine, Segment):
        phase().run(context)


def left_by(context, phase, branch="A"):
    return torch.load(context.layout.phase(phase, branch) / "network.pth", weights_only=True)


def test_each_phase_goes_on_with_the_network_before(make_context, write_pseudo_labels, starts, lines) -> None:
    context = make_context(mgcl={"warm_start": True})
    run_all(context, write_pseudo_labels)
    seed, self_train = left_by(context, "seed"), left_by(context, "self_train")
    assert all(torch.equal(value, seed[name]) for name, value in starts["self_train", "A"].items())
    assert torch.equal(starts["coarse", "A"][f"encoder.{FIRST}"], self_train[f"encoder.{FIRST}"])
    assert torch.equal(starts["fine", "A"][IN_DECODER], self_train[IN_DECODER])
    assert torch.equal(starts["fine", "A"][f"encoder.{FIRST}"], left_by(context, "coarse")[FIRST])
    assert "segment A: starts from self_train and coarse and fine" in lines
    assert "segment B: starts from coarse and fine" in lines  # it has no pool, and so no teacher


def test_without_it_each_phase_starts_anew(make_context, write_pseudo_labels, starts, lines) -> None:
    context = make_context(mgcl={"warm_start": False})
    run_all(context, write_pseudo_labels)
    for phase, earlier in (("self_train", "seed"), ("coarse", "self_train")):
        assert not torch.equal(starts[phase, "A"][f"encoder.{FIRST}"], left_by(context, earlier)[f"encoder.{FIRST}"])
    assert not torch.equal(starts["fine", "A"][IN_DECODER], left_by(context, "self_train")[IN_DECODER])
    assert "segment A: starts from coarse and fine" in lines


@pytest.mark.parametrize("labels", ["masks", "shared"])
def test_segment_begins_by_saying_what_self_train_says(make_context, write_pseudo_labels, labels) -> None:
    """Where nothing was contrasted since; a softmax over two classes is handed to a single output."""
    context = make_context(mgcl={"warm_start": True}, labels=labels)
    Seed().run(context)
    write_pseudo_labels(context, context.branches[0], 1)
    write_confidences(context, 0.9, 0.9)
    SelfTrain().run(context)
    Segment().run(context)
    branch, unet = context.branches[0], context.network.branches[0].eval()
    teacher = branch.build_unet().eval()
    teacher.load_state_dict(left_by(context, "self_train"))
    image = torch.randn(2, len(branch.channels), *branch.configuration.patch_size)
    with torch.no_grad():
        expected, found = teacher(image).softmax(1), unet(image)
    told = found.softmax(1) if labels == "shared" else torch.cat([1 - found.sigmoid(), found.sigmoid()], 1)
    torch.testing.assert_close(told, expected)
