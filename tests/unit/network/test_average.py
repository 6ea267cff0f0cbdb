from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from nnunet_mgcl.network.average import move_towards


@pytest.fixture
def student() -> nn.Module:
    """A layer that is named twice, as in dynamic-network-architectures, with weights, statistics and a count."""
    layer = nn.BatchNorm1d(3)
    return nn.ModuleDict({"layer": layer, "all": nn.ModuleList([layer]), "last": nn.Linear(3, 2)})


def test_every_tensor_moves_once(student) -> None:
    teacher = deepcopy(student)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    with torch.no_grad():
        for tensor in (*student.parameters(), *student.buffers()):
            tensor += 2
    move_towards(teacher, student, 0.75)
    for name, tensor in teacher.state_dict().items():
        expected = before[name] + (2 if name.endswith("num_batches_tracked") else 0.5)
        torch.testing.assert_close(tensor, expected, msg=name)
