"""The losses on a GPU, in the precisions that a training or a user's process has there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from nnunet_mgcl.losses import ModalityDiceBCELoss, supcon_loss
from tests.reference.test_supcon_reference import draw, supcon
from tests.unit.losses.test_modality_loss import MEMBERSHIP

TILES = pytest.mark.parametrize("tile", [None, 16], ids=["dense", "tiled"])


@pytest.fixture(params=["float32", "TF32 allowed", "float16 autocast", "bfloat16 autocast"])
def precision(request: pytest.FixtureRequest, device: torch.device) -> Iterator[str]:
    """What a process may have switched on around the loss."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if request.param.startswith("TF32") else "highest")
    dtype = getattr(torch, request.param.split()[0], None) if "autocast" in request.param else None
    with torch.autocast(device.type, dtype=dtype) if dtype else nullcontext():
        yield request.param
    torch.set_float32_matmul_precision(before)


def gradient(vectors: Tensor, labels: Tensor, device: torch.device, tile: int | None) -> tuple[Tensor, Tensor]:
    """The loss and its gradient, in float64 on the CPU."""
    at = vectors.clone().to(device).requires_grad_()
    loss = supcon_loss(at, labels.to(device), temperature=0.1, ignore_index=-1, tile=tile)
    loss.backward()
    assert at.grad.device.type == device.type and at.grad.dtype == vectors.dtype
    return loss.detach().double().cpu(), at.grad.double().cpu()


@TILES
def test_contrast_is_that_of_the_loops_in_every_precision(device, precision, tile) -> None:
    vectors, labels = draw(40, 128), [-1 if number % 9 == 0 else int(number % 5 == 0) for number in range(40)]
    at = vectors.clone().requires_grad_()
    expected = supcon(at, labels, 0.1, -1)
    expected.backward()
    loss, found = gradient(vectors.float(), torch.tensor(labels), device, tile)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=0)
    assert (found - at.grad).norm() < 1e-5 * at.grad.norm()


@TILES
def test_contrast_of_half_precision_embeddings_is_that_of_their_values(device, tile) -> None:
    vectors, labels = draw(40, 128).half(), torch.arange(40) % 3
    loss, found = gradient(vectors, labels, device, tile)
    exact_loss, exact = gradient(vectors.double(), labels, torch.device("cpu"), None)
    torch.testing.assert_close(loss, exact_loss, rtol=1e-5, atol=0)
    assert (found - exact).norm() < 2e-3 * exact.norm()  # the gradient itself is rounded to half precision


def test_contrast_does_not_depend_on_the_tiles(device) -> None:
    """More samples than a GPU's default tile has, so that there are several of these too."""
    generator = torch.Generator().manual_seed(0)
    vectors, labels = torch.randn(4500, 32, generator=generator), (torch.arange(4500) % 30 == 0).long()
    expected_loss, expected = gradient(vectors, labels, device, None)
    for tile in (1024, 5000):
        loss, found = gradient(vectors, labels, device, tile)
        torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
        assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("batch_dice", [False, True])
def test_modality_loss_under_autocast_is_that_of_float64(device, batch_dice) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 16, 16, generator=generator).half()
    target = torch.randint(0, 5, (2, 1, 16, 16), generator=generator)
    found = {}
    for kind, own in (("exact", logits.double()), ("found", logits.to(device))):
        at = own.requires_grad_()
        loss = ModalityDiceBCELoss(MEMBERSHIP.to(own.device), [1, 2], 4, batch_dice, ddp=False)
        with torch.autocast(device.type) if kind == "found" else nullcontext():
            value = loss(at, target.to(own.device))
        value.backward()
        found[kind] = value.detach().double().cpu(), at.grad.double().cpu()
    torch.testing.assert_close(found["found"][0], found["exact"][0], rtol=5e-3, atol=5e-3)
    assert (found["found"][1] - found["exact"][1]).norm() < 2e-2 * found["exact"][1].norm()
