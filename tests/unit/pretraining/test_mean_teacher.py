from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_mgcl.engine.datasets import labelled_dataset
from nnunet_mgcl.pretraining.mean_teacher import (
    EMATeacher,
    LossWithPool,
    MeanTeacherSettings,
    PoolSamples,
    follow,
    pool_weight,
    reading,
)


def test_weight_waits_rises_and_stays() -> None:
    config = MeanTeacherSettings(weight=2.0, start=0.2, ramp=0.4)
    found = [pool_weight(config, progress) for progress in (0.0, 0.2, 0.3, 0.6, 1.0)]
    assert found == pytest.approx([0, 0, 0.5, 2, 2])


def test_teacher_is_the_average_of_the_students_weights() -> None:
    teacher, student = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    teacher.weight.data.fill_(1.0)
    student.weight.data.fill_(3.0)
    student.running_mean.fill_(8.0)
    student.num_batches_tracked.fill_(5)
    follow(teacher, student, momentum=0.75, steps=100)
    assert float(teacher.weight.detach()) == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert float(teacher.running_mean) == pytest.approx(2.0) and int(teacher.num_batches_tracked) == 5
    follow(teacher, student, momentum=0.99, steps=1)  # a first step is a mean of both
    assert float(teacher.weight.detach()) == pytest.approx((1.5 + 3) / 2)


@pytest.fixture
def context(make_context):
    return make_context(pool={"A": ["pool_0", "pool_1"], "B": ["pool_0"]})


def teacher_of(context, batch_size):
    loss = LossWithPool(nn.Identity())
    return EMATeacher(context, MeanTeacherSettings(), loss, batch_size)


def test_samples_join_every_branchs_own_pool(context, monkeypatch) -> None:
    """The teacher labels what nnU-Net has augmented, not the strong view, and its weights stay as they are."""
    teacher = teacher_of(context, 3)
    streams = {"A": torch.full((3, 2, 32, 32), 1.0), "B": torch.full((3, 1, 32, 32), 2.0)}
    monkeypatch.setattr(teacher, "_stream", lambda branch: iter([{"data": streams[branch.name]}]))
    seen = []
    teacher.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    assert teacher.samples(progress=0.1) is None
    samples = teacher.samples(progress=1.0)
    assert seen[0][0, :, 0, 0].tolist() == [1.0, 2.0, 1.0]
    assert samples.images.shape == (3, 3, 32, 32) and not torch.equal(samples.images, seen[0])
    assert samples.targets.shape == (3, 2, 32, 32)
    assert not samples.targets.requires_grad and not any(p.requires_grad for p in teacher.network.parameters())


def test_joint_loss_is_that_of_the_labelled_plus_that_of_the_pool(context) -> None:
    output = torch.randn(5, 4, 8, 8, requires_grad=True)

    def supervised(own, target):
        return (own[0] * target).sum() if isinstance(own, list) else own.sum()

    loss = LossWithPool(LossFunction(supervised))
    loss.read = reading(context)
    assert loss(output, None) == output.sum()
    logits = loss.read.logits(output[3:])
    loss.pool = PoolSamples(torch.zeros(2, 3, 8, 8), logits.sigmoid().detach(), 0.5)
    loss([output, output[..., :4, :4]], torch.ones(3, 4, 8, 8)).backward()
    assert torch.equal(output.grad[:3], torch.ones(3, 4, 8, 8))  # the pool's samples do not reach nnU-Net's loss
    touched = output.grad[3:].flatten(2).abs().sum(2) > 0
    assert touched.tolist() == [[False, True, True, False]] * 2  # the channels that are the branches' own logits


class LossFunction(nn.Module):
    """A loss that is a function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, output, target):
        return self.function(output, target)


def test_saved_teacher_is_that_of_its_epoch_only(context, tmp_path) -> None:
    teacher = teacher_of(context, 2)
    next(teacher.network.parameters()).data.fill_(7.0)
    teacher.steps = 30
    teacher.save(tmp_path / "teacher.pth", epoch=4)
    other = teacher_of(context, 2)
    assert not other.load(tmp_path / "teacher.pth", epoch=3) and other.steps == 0
    assert other.load(tmp_path / "teacher.pth", epoch=4) and other.steps == 30
    assert bool((next(other.network.parameters()) == 7).all())
    assert not other.load(tmp_path / "none.pth", epoch=4)


def test_streams_are_opened_once_and_closed(context, monkeypatch) -> None:
    pool = "nnunet_mgcl.pretraining.mean_teacher.pool_dataset"
    monkeypatch.setattr(pool, labelled_dataset)  # B has no files of a pool
    teacher = teacher_of(context, 2)
    first = teacher._next_images()
    stream = teacher._streams["A"]
    assert first.shape == (2, 3, 32, 32)
    teacher._next_images()
    assert teacher._streams["A"] is stream
    teacher.close()
    assert not teacher._streams
