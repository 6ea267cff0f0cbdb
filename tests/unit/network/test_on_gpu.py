"""Parts of the network on a GPU, against float64 on the CPU or against themselves."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from nnunet_mgcl.network.average import move_towards
from nnunet_mgcl.network.fusion import CombinationFusion, SharedFusion
from nnunet_mgcl.network.mrff import MRFF
from tests.unit.network.test_recompute import INPUT, train_step, twins


def test_mrff_under_autocast_is_that_of_float64(device) -> None:
    """The head leaves autocast, whatever its features come in."""
    torch.manual_seed(0)
    head = MRFF(9, 8, 8).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    features, valid = torch.randn(3, 9, 8, 8).half(), torch.ones(3, 9, dtype=torch.bool)
    valid[1, 4:] = False
    expected = head(features.double(), valid).detach()
    with torch.autocast(device.type):
        found = deepcopy(head).float().to(device)(features.to(device), valid.to(device))
    torch.testing.assert_close(found.detach().double().cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (2, 4, 3, 8, 8)])
def test_shared_fusion_of_half_precision_logits(device, shape) -> None:
    fusion, logits = SharedFusion(3, 4), torch.randn(3, *shape).to(torch.get_autocast_dtype(device.type))
    nn.init.normal_(fusion.weight)
    there = torch.tensor([[True, True, True], [True, False, True]])
    for cases in (None, there):
        expected = deepcopy(fusion).double()(list(logits.double()), cases).detach()
        own = None if cases is None else cases.to(device)
        with torch.autocast(device.type):
            found = deepcopy(fusion).to(device)(list(logits.to(device)), own)
        torch.testing.assert_close(found.detach().double().cpu(), expected, rtol=2e-2, atol=2e-2)


def test_combinations_of_half_precision_logits(device) -> None:
    fusion = CombinationFusion(torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]])).to(device)
    logits = torch.randn(2, 2, 1, 8, 8).half().to(device)
    found = fusion(list(logits))
    assert found.dtype == torch.half
    first, second = logits.float()
    expected = torch.cat([torch.zeros_like(first), first, second, first + second], dim=1)
    torch.testing.assert_close(found.float(), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("mixed", [False, True])
def test_recomputed_step_is_the_plain_one(make_network, device, dimensions, mixed) -> None:
    """Not bit by bit, as on a CPU: a GPU's sums have no fixed order."""
    plain, checkpointed = twins(make_network(dimensions, masks=True, deep_supervision=True).to(device))
    x = torch.randn(INPUT[dimensions], device=device)
    with torch.autocast(device.type, enabled=mixed):
        expected, found = train_step(plain, x), train_step(checkpointed, x)
    assert len(found) == len(expected)
    for own, other in zip(found, expected, strict=True):
        difference, length = (own.float() - other.float()).norm(), other.float().norm()
        assert difference <= (2e-2 if mixed else 1e-3) * length + 1e-3


def test_average_moves_weights_statistics_and_counts(device) -> None:
    student = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).to(device)
    teacher = deepcopy(student)
    before = [tensor.clone() for tensor in teacher.state_dict().values()]
    with torch.no_grad():
        for tensor in (*student.parameters(), *student.buffers()):
            tensor += 2
    move_towards(teacher, student, 0.75)
    for (name, tensor), old in zip(teacher.state_dict().items(), before, strict=True):
        torch.testing.assert_close(tensor, old + (2 if name.endswith("tracked") else 0.5), msg=name)
