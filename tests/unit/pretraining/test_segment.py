from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from nnunet_mgcl.pretraining.segment import Segment

from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.fine import Fine
from nnunet_mgcl.tss.phase import TSS


@pytest.fixture
def context(make_context, write_pseudo_labels):
    context = make_context(norm="BatchNorm", mgcl={"coarse": {"epochs": 1}, "fine": {"epochs": 1}})
    write_pseudo_labels(context, context.branches[0], 2)
    return context


def left_by(context, phase, branch):
    return torch.load(context.layout.phase(phase, branch.name) / "network.pth", weights_only=True)


def test_segment_starts_bit_equal_to_what_coarse_and_fine_left(context, lines) -> None:
    Coarse().run(context)
    Fine().run(context)
    before = deepcopy(context.network.state_dict())
    lines.clear()
    Segment().run(context)
    for branch, unet in zip(context.branches, context.network.branches, strict=True):
        encoder, decoder = left_by(context, "coarse", branch), left_by(context, "fine", branch)
        assert all(torch.equal(unet.encoder.state_dict()[name], value) for name, value in encoder.items())
        assert all(torch.equal(unet.decoder.state_dict()[name], value) for name, value in decoder.items())
        covered = {f"encoder.{name}" for name in encoder} | {f"decoder.encoder.{name}" for name in encoder}
        covered |= {f"decoder.{name}" for name in decoder}
        assert {name for name in unet.state_dict() if name not in covered} == {
            name for name in unet.state_dict() if "seg_layers" in name
        }
    untouched = [name for name in before if "seg_layers" in name or name.startswith(("tss.", "fusion."))]
    assert all(torch.equal(context.network.state_dict()[name], before[name]) for name in untouched)
    assert lines == ["segment A: starts from coarse and fine", "segment B: starts from coarse and fine"]


def test_without_fine_the_decoders_keep_their_initialisation(context, lines) -> None:
    Coarse().run(context)
    before = deepcopy(context.network.state_dict())
    lines.clear()
    Segment().run(context)
    changed = {name for name, value in context.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(".encoder." in name for name in changed)
    assert lines[0] == "segment A: starts from coarse"


def test_without_pretraining_nothing_changes(context, lines) -> None:
    before = deepcopy(context.network.state_dict())
    Segment().run(context)
    assert all(torch.equal(value, before[name]) for name, value in context.network.state_dict().items())
    assert lines == [f"segment {name}: starts from He initialisation" for name in ("A", "B")]


def test_a_skipped_phase_is_not_named_as_the_origin(context, lines) -> None:
    Coarse().run(context)
    context.state.mark_skipped("coarse", "A")
    lines.clear()
    Segment().run(context)
    assert lines == ["segment A: starts from He initialisation", "segment B: starts from coarse"]


def test_segmentation_that_starts_anew_voids_the_head_of_an_earlier_run(context, lines) -> None:
    """As with --c after --disable_checkpointing: the phases are there, the encoders that the head knew are not."""
    TSS().run(context)
    Coarse().run(context)
    lines.clear()
    Segment().run(context)
    assert lines[0] == "tss: removed the head of an earlier run, whose encoders are lost"
    assert not context.state.is_done("tss", "mrff") and context.state.is_done("coarse", "B")
    assert not context.layout.phase("tss").exists()
    lines.clear()
    TSS().run(context)
    assert "tss mrff: epochs 1-2, 2 iterations each" in lines
