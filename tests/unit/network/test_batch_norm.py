from __future__ import annotations

import torch

from nnunet_mgcl.network.batch_norm import BatchNorm


def test_each_number_is_standardised_over_the_samples() -> None:
    x = torch.randn(10, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, 100.0, -3.0])
    expected = torch.zeros_like(x)
    for column in range(3):
        mean = sum(float(v) for v in x[:, column]) / 10
        variance = sum((float(v) - mean) ** 2 for v in x[:, column]) / 10
        for row in range(10):
            expected[row, column] = (float(x[row, column]) - mean) / (variance + 1e-5) ** 0.5
    torch.testing.assert_close(BatchNorm()(x), expected)


def test_a_constant_number_stays_finite_with_a_gradient() -> None:
    x = torch.ones(4, 2, requires_grad=True)
    out = BatchNorm()(x)
    out.sum().backward()
    assert torch.equal(out, torch.zeros(4, 2)) and x.grad is not None and bool(x.grad.isfinite().all())
