from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from nnunet_mgcl.network.mgcl_network import MGCLNetwork

INPUT = {2: (2, 3, 32, 32), 3: (2, 3, 6, 32, 32)}


def twins(network: MGCLNetwork) -> tuple[MGCLNetwork, MGCLNetwork]:
    """The same training network without and with checkpointing."""
    network.train()
    other = deepcopy(network)
    other.checkpointing = True
    return network, other


def train_step(network: MGCLNetwork, x: Tensor) -> list[Tensor]:
    """Outputs, gradients and, after the backward pass, all buffers."""
    torch.manual_seed(1)  # dropout
    outputs = network(x)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    sum(output.square().mean() for output in outputs).backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return [*(output.detach() for output in outputs), *gradients, *network.buffers(), torch.rand(1)]


def saved_bytes(network: MGCLNetwork, x: Tensor) -> int:
    """Bytes that the forward pass leaves for the backward pass, parameters apart."""
    sizes: dict[int, int] = {}
    parameters = {p.data_ptr() for p in network.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in parameters:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(x)
    return sum(sizes.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("deep_supervision", [False, True])
@pytest.mark.parametrize("masks", [False, True])
def test_step_is_bit_identical(make_network, dtype, dimensions, deep_supervision, masks) -> None:
    network = make_network(dimensions, masks=masks, deep_supervision=deep_supervision).to(dtype)
    plain, checkpointed = twins(network)
    x = torch.randn(INPUT[dimensions], dtype=dtype)
    expected, found = train_step(plain, x), train_step(checkpointed, x)
    assert len(expected) == len(found)
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("norm", [None, "BatchNorm"])
def test_dropout_and_running_statistics_are_those_of_the_plain_step(make_network, norm) -> None:
    network = make_network(2, norm=norm)
    for module in network.modules():
        if isinstance(module, nn.Sequential) and isinstance(module[0], nn.Conv2d):
            module.insert(1, nn.Dropout2d(0.5))
    assert any(isinstance(module, nn.Dropout2d) for module in network.modules())
    plain, checkpointed = twins(network)
    x = torch.randn(INPUT[2])
    for _ in range(2):
        expected, found = train_step(plain, x), train_step(checkpointed, x)
        assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))
    assert all(m.momentum == 0.1 for m in checkpointed.modules() if isinstance(m, nn.BatchNorm2d))


def test_one_branch_s_activations_are_in_memory_at_a_time(make_network) -> None:
    plain, checkpointed = twins(make_network(2, masks=True))
    x = torch.randn(INPUT[2])
    whole, kept = saved_bytes(plain, x), saved_bytes(checkpointed, x)
    inputs_and_logits = x.nbytes + 2 * 2 * 32 * 32 * x.itemsize
    assert kept <= inputs_and_logits < whole / 5


@pytest.mark.parametrize("mode", ["eval", "no_grad", "inference_mode"])
def test_inference_recomputes_nothing(make_network, monkeypatch, mode) -> None:
    monkeypatch.setattr("nnunet_mgcl.network.recompute.checkpoint", lambda *_, **__: pytest.fail("recomputed"))
    plain, checkpointed = twins(make_network(2))
    x = torch.randn(INPUT[2])
    if mode == "eval":
        assert torch.equal(checkpointed.eval()(x), plain.eval()(x))
        return
    with getattr(torch, mode)():
        assert torch.equal(checkpointed(x), plain(x))


@pytest.mark.slow
def test_compiled_network_recomputes_as_well(make_network) -> None:
    """nnU-Net compiles on CUDA; here without code generation, which needs a compiler."""
    plain, checkpointed = twins(make_network(2, masks=True, deep_supervision=True))
    x = torch.randn(INPUT[2])
    expected = train_step(plain, x)
    found = train_step(torch.compile(checkpointed, backend="aot_eager"), x)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e)
    assert saved_bytes(torch.compile(checkpointed, backend="aot_eager"), x) < saved_bytes(plain, x) / 5
