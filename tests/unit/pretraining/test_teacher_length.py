from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform

from nnunet_mgcl.engine.datasets import labelled_dataset
from nnunet_mgcl.engine.supervised_loss import as_target
from nnunet_mgcl.pretraining import teacher_length as module
from nnunet_mgcl.pretraining.teacher import Teacher
from nnunet_mgcl.pretraining.teacher_length import PHASE, LengthWatch, teacher_length
from nnunet_mgcl.system.files import read_json

LONG = {"seed": {"epochs": 2, "stretch": 10.0, "batch_size": 8}}


@pytest.fixture
def losses(monkeypatch):
    """What the cases left out say after each epoch; the last for ever."""
    values = [1.0]
    monkeypatch.setattr(LengthWatch, "_loss", lambda watch, _: values[min(len(watch.notes["losses"]), len(values) - 1)])
    return values


@pytest.fixture
def jobs(monkeypatch):
    """Every training: phase, cases and curve."""
    seen = []
    batches, train = module.open_batches, module.train

    def opened(context, branch, dataset, *arguments, **options):
        seen.append(list(dataset.identifiers))
        return batches(context, branch, dataset, *arguments, **options)

    def trained(context, job):
        curve = train(context, job)
        seen.append(len(curve))
        return curve

    monkeypatch.setattr(module, "open_batches", opened)
    monkeypatch.setattr(module, "train", trained)
    return seen


@pytest.mark.parametrize(
    ("values", "length", "searched"),
    [
        ([1.0, 0.8, 0.6, 0.4, 0.397], 4, 9),  # 0.003 less is not less
        ([1.0, 0.8, 0.9], 2, 7),
        ([0.5, 0.9], 2, 6),  # no shorter than seed.epochs
        ([float("nan"), 0.9, 0.5, float("nan")], 3, 8),
        ([float("nan")], 2, 5),
        ([1 - 0.04 * n for n in range(30)], 20, 20),  # no longer than stretch allows
    ],
)
def test_length_is_that_of_the_lowest_loss(make_context, losses, jobs, lines, values, length, searched) -> None:
    losses[:] = values
    context = make_context(mgcl=LONG)
    assert teacher_length(context, context.branches[0], context.config.seed) == length
    assert jobs[1] == searched
    assert f"seed A: {length} epochs by the loss on 1 left-out training cases" in lines
    assert not (context.layout.phase(PHASE, "A") / "checkpoint_latest.pth").exists()


def test_search_leaves_training_cases_out_and_seed_takes_all(make_context, losses, jobs, lines) -> None:
    losses[:] = [1.0, 0.9, 0.8, 0.9]
    context = make_context(mgcl=LONG)
    Teacher().run(context)
    (left_out,) = read_json(context.layout.phase(PHASE, "A") / "length.json")["left_out"]
    assert left_out in context.train_cases and jobs[0] == [case for case in context.train_cases if case != left_out]
    assert any(line.startswith("seed A: epochs 1-3, 2 iterations each") for line in lines)  # 16 slices


def test_found_length_is_kept(make_context, losses, monkeypatch) -> None:
    losses[:] = [1.0, 0.9, 0.8, 0.9]
    first = make_context(mgcl=LONG)
    assert teacher_length(first, first.branches[0], first.config.seed) == 3
    monkeypatch.setattr(module, "train", lambda *_: pytest.fail("searched again"))
    again = make_context(mgcl=LONG)
    assert teacher_length(again, again.branches[0], again.config.seed) == 3


def test_few_cases_are_all_needed(make_context, monkeypatch, lines) -> None:
    monkeypatch.setattr(module, "train", lambda *_: pytest.fail("searched"))
    context = make_context(mgcl=LONG)
    context.train_cases = context.train_cases[:3]
    assert teacher_length(context, context.branches[0], context.config.seed) == 2
    assert lines == ["seed A: too few cases to leave one out, so it trains for 2 epochs"]


def test_without_stretch_the_length_is_fixed(make_context, monkeypatch, lines) -> None:
    monkeypatch.setattr(module, "train", lambda *_: pytest.fail("searched"))
    context = make_context()
    assert teacher_length(context, context.branches[0], context.config.seed) == 2 and lines == []


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("labels", ["shared", "ignore", "regions"])
def test_looking_takes_a_loss_and_changes_nothing(make_context, dimensions, labels) -> None:
    context = make_context(dimensions, labels=labels, norm="BatchNorm")
    branch = context.branches[0]
    watch = LengthWatch(context, branch, 2, labelled_dataset(context, branch))
    unet = branch.build_unet().train()
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    watch.after_epoch(unet, [1.0])
    assert np.isfinite(watch.notes["losses"]).all() and watch.notes["epochs"] == [1]
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert unet.training and all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())


def test_loss_falls_where_the_prediction_is_right(make_context) -> None:
    context = make_context(labels="shared")
    branch = context.branches[0]
    watch = LengthWatch(context, branch, 2, labelled_dataset(context, branch))

    class Bright(torch.nn.Module):
        def __init__(self, sign) -> None:
            super().__init__()
            self.sign = sign

        def forward(self, image):
            lesion = self.sign * 10 * (image.mean(1, keepdim=True) - 2.5)
            return torch.cat([-lesion, lesion], 1)

    assert watch._loss(Bright(1)) < -0.5 < 1 < watch._loss(Bright(-1))


@pytest.mark.parametrize("ignore", [False, True])
def test_regions_are_nnunet_s_channels(make_context, ignore) -> None:
    labels = make_context(labels="regions").branches[0].label_manager
    mask = torch.tensor([-1, 0, 1, 2, 3]).view(1, 1, 5, 1)
    regions = [(1, 2), (2,), *([3] if ignore else [])]
    stand_in = type("Labels", (), {"has_regions": True, "foreground_regions": regions[:2], "ignore_label": 3,
                                   "has_ignore_label": ignore})  # fmt: skip
    expected = ConvertSegmentationToRegionsTransform(regions, 0)._apply_to_segmentation(mask[0])
    assert torch.equal(as_target(mask, stand_in)[0], expected)
    assert labels.has_regions


def test_other_ranks_do_not_look(make_context) -> None:
    context = make_context()
    context.rank = 1
    branch = context.branches[0]
    watch = LengthWatch(context, branch, 2, labelled_dataset(context, branch))
    watch.after_epoch(torch.nn.Identity(), [1.0])
    assert watch.notes["losses"] == [] and watch.best == 0


@pytest.mark.parametrize("killed_after", [2, 6])
def test_search_that_was_killed_goes_on_to_the_same_length(make_context, monkeypatch, killed_after) -> None:
    context = make_context(mgcl=LONG)
    length = teacher_length(context, context.branches[0], context.config.seed)
    note = context.layout.phase(PHASE, "A") / "length.json"
    expected = read_json(note)
    context.layout.state.unlink()
    note.unlink()

    interrupted = make_context(mgcl=LONG)

    def killed(phase, branch, values, **_):
        if len(values) == killed_after and phase == PHASE:
            raise KeyboardInterrupt

    monkeypatch.setattr(interrupted.curves, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        teacher_length(interrupted, interrupted.branches[0], interrupted.config.seed)
    resumed = make_context(mgcl=LONG)
    assert teacher_length(resumed, resumed.branches[0], resumed.config.seed) == length and read_json(note) == expected
