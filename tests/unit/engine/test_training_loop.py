"""The loop by itself, with a toy module; `test_supervised.py` runs it on images."""

from __future__ import annotations

import json
import random
from contextlib import contextmanager
from math import cos, pi

import numpy as np
import pytest
import torch
from torch import nn

from nnunet_mgcl.engine import training_loop
from nnunet_mgcl.engine.training_loop import GRADIENT_NORM, Job, train
from nnunet_mgcl.plan.config import Optimiser
from nnunet_mgcl.system.errors import UserError

LR = 0.1


@pytest.fixture
def context(make_context):
    return make_context()


class Stream:
    """Batches of random numbers that use all three sources of randomness, and whether they were closed."""

    def __init__(self) -> None:
        self.closed = False

    @contextmanager
    def open(self):
        try:
            yield self._batches()
        finally:
            self.closed = True

    def _batches(self):
        while True:
            x = torch.randn(8, 3) + np.random.rand() + random.random()
            yield {"data": x, "keys": np.array(["case_1", "pool:case_7"])}


def module() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, 1)


def error(net, batch):
    return (net(batch["data"]) - batch["data"].sum(1, keepdim=True)).square().mean(), None


def job(net, *, epochs=4, iterations=3, step=error, cosine=True, stream=None) -> Job:
    return Job("fine", "A", net, Optimiser(lr=LR), cosine, epochs, iterations, (stream or Stream()).open, step)


def checkpoint(context):
    path = context.layout.phase("fine", "A") / "checkpoint_latest.pth"
    return torch.load(path, weights_only=True)


def test_module_learns_and_the_curve_is_the_mean_loss_of_each_epoch(context) -> None:
    seen = []

    def step(net, batch):
        loss, remark = error(net, batch)
        seen.append(loss.item())
        return loss, remark

    train(context, job(module(), epochs=20, step=step))
    curve = checkpoint(context)["curve"]
    assert curve[-1] < curve[0] / 10
    assert curve == pytest.approx(np.reshape(seen, (20, 3)).mean(1).tolist())
    assert json.loads((context.layout.phases / "curves.json").read_text())["fine"]["curves"]["A"] == curve


def test_gradients_that_never_are_finite_stop_with_phase_epoch_and_cases(context, monkeypatch) -> None:
    """Under mixed precision each such step is left out, and the phase would learn nothing without a word."""
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(training_loop.torch.amp, "GradScaler", lambda **_: scaler("cpu", init_scale=8.0))

    def step(net, batch):
        loss, remark = error(net, batch)
        return loss + 0 * (net.weight - net.weight).sum().sqrt(), remark  # 0, and its gradient is 0 / 0

    with pytest.raises(UserError) as error_:
        train(context, job(module(), step=step))
    assert "epoch 2" in str(error_.value) and "case_1, pool:case_7" in str(error_.value)
    train(context, job(module()))  # finite ones go on, however the loss is scaled


def test_resume_point_of_a_training_without_a_step_begins_again(context, monkeypatch) -> None:
    scaler, resumed = torch.amp.GradScaler, []
    monkeypatch.setattr(training_loop.torch.amp, "GradScaler", lambda **_: scaler("cpu", init_scale=8.0))
    train(context, job(module(), epochs=2))
    path = context.layout.phase("fine", "A") / "checkpoint_latest.pth"
    saved = torch.load(path, weights_only=True)
    torch.save(saved | {"scaler": saved["scaler"] | {"scale": 2.0**-20}}, path)
    again = job(module(), epochs=2)
    again.observer.before = lambda _: resumed.append("from the start")
    assert len(train(context, again)) == 2 and resumed == ["from the start"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_loss_that_is_not_finite_stops_with_phase_epoch_and_cases(context, value) -> None:
    calls = []

    def step(net, batch):
        loss, remark = error(net, batch)
        calls.append(loss)
        return (loss * value if len(calls) == 5 else loss), remark

    stream = Stream()
    with pytest.raises(UserError) as raised:
        train(context, job(module(), step=step, stream=stream))
    message = str(raised.value)
    assert "phase fine (A), epoch 2" in message
    assert "case_1, pool:case_7" in message
    assert str(value) in message
    assert len(calls) == 5  # the loss was not used
    assert len(checkpoint(context)["curve"]) == 1
    assert stream.closed


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
@pytest.mark.parametrize("cosine", [True, False])
def test_resumed_run_is_bit_identical_to_an_uninterrupted_one(
    make_context, context, monkeypatch, stopped_after, cosine
) -> None:
    whole = module()
    train(context, job(whole, cosine=cosine))
    expected = checkpoint(context)
    (context.layout.phase("fine", "A") / "checkpoint_latest.pth").unlink()

    interrupted = make_context()

    def killed(phase, branch, losses, **_):
        if len(losses) == stopped_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(interrupted.curves, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, job(module(), cosine=cosine))
    torch.manual_seed(99)
    resumed = nn.Linear(3, 1)
    train(make_context(), job(resumed, cosine=cosine))

    assert torch.equal(resumed.weight, whole.weight) and torch.equal(resumed.bias, whole.bias)
    found = checkpoint(context)
    assert found["curve"] == expected["curve"]
    for key, moments in expected["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(found["optimizer"]["state"][key][name], value)


def test_finished_module_is_loaded_not_trained_again(make_context, context) -> None:
    trained = module()
    train(context, job(trained))
    again = nn.Linear(3, 1)
    train(make_context(), job(again, step=lambda *_: pytest.fail("trained again")))
    assert torch.equal(again.weight, trained.weight)


def test_curve_that_a_kill_left_undrawn_is_drawn_at_the_restart(make_context, context, monkeypatch) -> None:
    monkeypatch.setattr(context.curves, "update", lambda *_, **__: pytest.exit("killed"))
    with pytest.raises(pytest.exit.Exception):
        train(context, job(module(), epochs=1))
    train(make_context(), job(module(), epochs=1))
    numbers = json.loads((context.layout.phases / "curves.json").read_text())
    assert len(numbers["fine"]["curves"]["A"]) == 1
    assert (context.layout.phases / "progress.png").is_file()


@pytest.mark.parametrize("cosine", [True, False])
def test_learning_rate_falls_as_a_cosine_or_stays(context, monkeypatch, cosine) -> None:
    rates = []
    adam_step = torch.optim.Adam.step

    def step(optimizer, *args, **kwargs):
        rates.append(optimizer.param_groups[0]["lr"])
        return adam_step(optimizer, *args, **kwargs)

    monkeypatch.setattr(training_loop.torch.optim.Adam, "step", step)
    train(context, job(module(), epochs=4, iterations=2, cosine=cosine))
    expected = [LR * (0.5 * (1 + cos(pi * epoch / 4)) if cosine else 1) for epoch in range(4)]
    assert rates[::2] == rates[1::2] == pytest.approx(expected)


def test_optimiser_s_settings_are_the_configuration_s(context, monkeypatch) -> None:
    seen = {}
    adam = torch.optim.Adam

    def spy(parameters, lr, **settings):
        seen.update(settings, lr=lr)
        return adam(parameters, lr, **settings)

    monkeypatch.setattr(training_loop.torch.optim, "Adam", spy)
    settings = Optimiser(lr=0.2, beta1=0.7, weight_decay=0.3)
    train(context, Job("fine", "A", module(), settings, False, 1, 1, Stream().open, error))
    assert seen == {"lr": 0.2, "betas": (0.7, 0.999), "weight_decay": 0.3}


def test_remarks_are_counted_in_the_epoch_s_line(context, lines) -> None:
    calls = []

    def step(net, batch):
        calls.append(1)
        return error(net, batch)[0], "one-class batch" if len(calls) in (1, 3, 4) else None

    train(context, job(module(), epochs=3, step=step))
    epochs = [line for line in lines if ": epoch " in line]
    assert len(epochs) == 3
    assert "epoch 1/3" in epochs[0] and "2 x one-class batch" in epochs[0]
    assert "1 x one-class batch" in epochs[1]
    assert "one-class" not in epochs[2]


def test_curve_counts_only_batches_that_teach(context) -> None:
    calls = []

    def step(net, batch):
        calls.append(1)
        loss = error(net, batch)[0]
        return (loss * 0 + 2, None) if len(calls) % 3 == 0 else (loss * 0, "one-class batch")

    train(context, job(module(), epochs=2, step=step))
    assert checkpoint(context)["curve"] == [2, 2]


def test_batches_that_teach_nothing_move_no_weight(context) -> None:
    """Adam normalises: with the weight decay as its only gradient, it would move every weight by the learning rate."""
    net = module()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train(context, job(net, epochs=2, step=lambda n, b: (error(n, b)[0] * 0, "one-class batch")))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert checkpoint(context)["curve"] == [0, 0]


def test_gradients_are_clipped_to_nnunet_s_norm(context) -> None:
    net = module()
    train(context, job(net, epochs=1, iterations=1, step=lambda n, b: (1e4 * error(n, b)[0], None)))
    norm = torch.cat([p.grad.flatten() for p in net.parameters()]).norm().item()
    assert norm == pytest.approx(GRADIENT_NORM, rel=1e-3)


def test_module_is_in_training_mode(context) -> None:
    modes = []
    net = module().eval()
    train(context, job(net, step=lambda n, b: (modes.append(n.training), error(n, b))[1]))
    assert all(modes)


def test_other_ranks_leave_no_file(context) -> None:
    context.rank = 1
    train(context, job(module(), epochs=1))
    assert not context.layout.phases.exists()


def test_full_gpu_names_the_phase_and_what_to_lower(context) -> None:
    def step(net, batch):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    stream = Stream()
    with pytest.raises(UserError, match=r"phase fine \(A\)[\s\S]*fine\.batch_size=3"):
        train(context, job(module(), step=step, stream=stream))
    assert stream.closed


def test_epoch_that_was_killed_half_way_is_repeated_whole(make_context, context) -> None:
    whole = module()
    train(context, job(whole))
    (context.layout.phase("fine", "A") / "checkpoint_latest.pth").unlink()
    calls = []

    def step(net, batch):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return error(net, batch)

    with pytest.raises(KeyboardInterrupt):
        train(make_context(), job(module(), step=step))
    resumed = nn.Linear(3, 1)
    train(make_context(), job(resumed))
    assert torch.equal(resumed.weight, whole.weight)
