"""Which weights each phase begins with, and what `segment` begins with."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from nnunet_mgcl.pretraining import teacher
from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.contrast import phase as contrast
from nnunet_mgcl.pretraining.course import hand_over
from nnunet_mgcl.pretraining.fine import Fine
from nnunet_mgcl.pretraining.handover import PARTS, load_parts, require_readers, state_of
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.pretraining.pseudo_label import PseudoLabel
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

PHASES = MGCLTrainer.pretraining
FIRST, IN_DECODER = "stages.0.0.convs.0.conv.weight", "decoder.stages.0.convs.0.conv.weight"


@pytest.fixture
def context(make_context, write_pseudo_labels):
    context = make_context(norm="BatchNorm", mgcl={"coarse": {"epochs": 1}, "fine": {"epochs": 1}})
    write_pseudo_labels(context, context.branches[0], 2)
    return context


def left_by(context, phase, branch=None):
    name = (branch or context.branches[0]).name
    return torch.load(context.layout.phase(phase, name) / "network.pth", weights_only=True)


def test_segment_starts_bit_equal_to_what_coarse_and_fine_left(context, lines) -> None:
    Coarse().run(context)
    Fine().run(context, [Coarse()])
    before = deepcopy(context.network.state_dict())
    lines.clear()
    hand_over(PHASES, context)
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
    hand_over(PHASES, context)
    changed = {name for name, value in context.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(".encoder." in name for name in changed)
    assert lines[0] == "segment A: starts from coarse"


def test_without_pretraining_nothing_changes(context, lines) -> None:
    before = deepcopy(context.network.state_dict())
    hand_over(PHASES, context)
    assert all(torch.equal(value, before[name]) for name, value in context.network.state_dict().items())
    assert lines == [f"segment {name}: starts from He initialisation" for name in ("A", "B")]


def test_a_skipped_phase_is_not_named_as_the_origin(context, lines) -> None:
    Coarse().run(context)
    context.state.mark_skipped("coarse", "A")
    lines.clear()
    hand_over(PHASES, context)
    assert lines == ["segment A: starts from He initialisation", "segment B: starts from coarse"]


@pytest.fixture
def starts(monkeypatch):
    """The weights of every module whose training begins, by phase and branch."""
    seen = {}

    def spy(train):
        def begin(context, job):
            seen[job.phase, job.branch] = deepcopy(job.module.state_dict())
            return train(context, job)

        return begin

    for module in (teacher, contrast):
        monkeypatch.setattr(module, "train", spy(module.train))
    return seen


def run_all(context, write_pseudo_labels, last="fine"):
    """The phases up to one; pseudo-labels are written here."""
    for number, phase in enumerate(PHASES):
        if isinstance(phase, PseudoLabel):
            write_pseudo_labels(context, context.branches[0], phase.round)
        else:
            phase.run(context, PHASES[:number])
        if phase.name == last:
            break
    hand_over(PHASES, context)


def test_each_phase_goes_on_with_the_network_before(make_context, write_pseudo_labels, starts, lines) -> None:
    context = make_context(mgcl={"warm_start": True})
    run_all(context, write_pseudo_labels)
    seed, self_train = (left_by(context, name) for name in ("seed", "self_train"))
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
    run_all(context, write_pseudo_labels, last="self_train")
    branch, unet = context.branches[0], context.network.branches[0].eval()
    teacher = branch.build_unet().eval()
    teacher.load_state_dict(left_by(context, "self_train"))
    image = torch.randn(2, len(branch.channels), *branch.configuration.patch_size)
    with torch.no_grad():
        expected, found = teacher(image).softmax(1), unet(image)
    told = found.softmax(1) if labels == "shared" else torch.cat([1 - found.sigmoid(), found.sigmoid()], 1)
    torch.testing.assert_close(told, expected)


@pytest.mark.parametrize("parts", [PARTS[:1], PARTS[1:2], PARTS[:2], PARTS])
def test_parts_that_are_handed_on_arrive_and_others_stay(make_context, parts) -> None:
    branch = make_context().branches[0]
    giver, taker = branch.build_unet(), branch.build_unet()
    before = deepcopy(taker.state_dict())
    load_parts(taker, state_of(giver, parts), parts)
    for name, value in taker.state_dict().items():
        part = "seg_layers" if ".seg_layers." in name else "encoder" if "encoder." in name else "decoder"
        assert torch.equal(value, (giver.state_dict() if part in parts else before)[name]), name


class Lost(Pretext):
    name = "lost"


class Odd(Pretext):
    name, trains = "odd", ("stem",)


class Reader(Pretext):
    name, trains, reads = "reader", ("encoder",), ("lost",)


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ((Lost(),), "nobody reads"),
        ((Odd(),), "stem"),
        ((Reader(),), "lost"),
        ((*PHASES, Coarse()), "twice"),
        (PHASES[:3], "self_train"),
    ],
)
def test_a_phase_whose_work_would_be_lost_is_refused(make_context, phases, words) -> None:
    with pytest.raises(UserError, match=words):
        require_readers(phases, make_context(mgcl={"warm_start": False}).config, "Trainer")


def test_a_phase_that_is_read_may_hand_nothing_on(make_context) -> None:
    require_readers((Lost(), Reader()), make_context().config, "Trainer")
    require_readers(PHASES, make_context(mgcl={"warm_start": False}).config, "Trainer")
