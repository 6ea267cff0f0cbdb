from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import nnunet_mgcl
from nnunet_mgcl.losses import supcon, supcon_loss
from nnunet_mgcl.network.batch_norm import BatchNorm

Ranks = list[dict[tuple[str, int | None, bool], tuple[Tensor, Tensor]]]


def embeddings(count: int, width: int = 4) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0)).requires_grad_()


FORMS = pytest.mark.parametrize("tile", [None, 2], ids=["dense", "tiled"])
"""None: these few samples are one matrix."""


@FORMS
@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 1, 2], [-1, -1, -1], [-1, 1, 1], [-1, -1, 1], []])
def test_batch_without_contrast_is_an_exact_zero_with_a_graph(labels: list[int], tile: int | None) -> None:
    vectors = embeddings(len(labels))
    loss = supcon_loss(vectors, torch.tensor(labels).long(), temperature=0.1, ignore_index=-1, tile=tile)
    loss.backward()
    assert str(loss.item()) == "0.0"  # a log would show -0.0
    assert torch.equal(vectors.grad, torch.zeros_like(vectors))


@FORMS
def test_ignored_samples_change_nothing_whatever_they_hold(tile: int | None) -> None:
    labels = torch.tensor([0, 1, -1, 0, 1])
    poisoned = embeddings(5).detach().clone()
    poisoned[2] = torch.nan
    poisoned.requires_grad_()
    loss = supcon_loss(poisoned, labels, temperature=0.1, ignore_index=-1, tile=tile)
    loss.backward()
    kept = labels != -1
    alone = embeddings(5).detach()[kept].requires_grad_()
    expected = supcon_loss(alone, labels[kept], temperature=0.1, tile=tile)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(poisoned.grad[kept], alone.grad)
    assert poisoned.grad[2].eq(0).all()


def test_sum_is_the_mean_times_the_anchors() -> None:
    vectors, labels = embeddings(5), torch.tensor([0, 0, 0, 1, -1])  # the fourth is a negative, but no anchor
    loss = {
        reduction: supcon_loss(vectors, labels, temperature=0.1, ignore_index=-1, reduction=reduction)
        for reduction in ("mean", "sum")
    }
    torch.testing.assert_close(loss["sum"], 3 * loss["mean"])
    of_sum, of_mean = (torch.autograd.grad(loss[reduction], vectors)[0] for reduction in ("sum", "mean"))
    torch.testing.assert_close(of_sum, 3 * of_mean)
    assert of_sum[3].abs().sum() > 0


def test_without_ignore_index_every_label_is_a_class() -> None:
    labels = torch.tensor([-1, -1, 0, 0])
    assert supcon_loss(embeddings(4), labels, temperature=0.1) > 0


@FORMS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("length", [0, 3e-8])
def test_embedding_without_a_direction_has_no_gradient(dtype: torch.dtype, length: float, tile: int | None) -> None:
    """It is as similar to all others as a vector at right angles to them."""
    labels = torch.tensor([0, 1, 0, 1])
    plain = torch.tensor([[length, 0, 0], [0, 1, 2], [0, 2, 1], [0, -1, 1]], dtype=dtype, requires_grad=True)
    loss = supcon_loss(plain, labels, temperature=0.1, tile=tile)
    loss.backward()
    upright = plain.detach().clone()
    upright[0, 0] = 1
    upright.requires_grad_()
    expected = supcon_loss(upright, labels, temperature=0.1, tile=tile)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(plain.grad[1:, 1:], upright.grad[1:, 1:])
    assert plain.grad.isfinite().all()
    if length == 0 or dtype == torch.float16:  # where 3e-8 is below the normal numbers
        assert plain.grad[0].eq(0).all()


@pytest.mark.parametrize("temperature", [0.021, 0.019, 0.01, 1 / 599, 1 / 601, 1e-3])
def test_many_float32_samples_may_oppose_each_other_at_any_temperature(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 2
    sides = torch.where(torch.arange(300) < 3, -1.0, 1.0)[:, None]
    vectors = (sides + 0.1 * torch.randn(300, 2, generator=generator)).requires_grad_()
    exactly = vectors.detach().double().requires_grad_()
    loss = supcon_loss(vectors, labels, temperature=temperature)
    loss.backward()
    monkeypatch.setattr(supcon, "FEWEST_FOR_TILES", 301)
    exact = supcon_loss(exactly, labels, temperature=temperature)
    exact.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-4, atol=0)
    assert (vectors.grad - exactly.grad).norm() < 1e-2 * exactly.grad.norm()


@FORMS
def test_loss_is_in_full_precision_under_autocast(tile: int | None) -> None:
    vectors, labels = embeddings(16, 32), torch.arange(16) % 2
    plain = supcon_loss(vectors, labels, temperature=0.1, tile=tile)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = supcon_loss(vectors, labels, temperature=0.1, tile=tile)
    assert torch.equal(mixed, plain)
    of_mixed, of_plain = (torch.autograd.grad(loss, vectors)[0] for loss in (mixed, plain))
    assert torch.equal(of_mixed, of_plain)

    rounded = vectors.detach().bfloat16().requires_grad_()
    loss = supcon_loss(rounded, labels, temperature=0.1, tile=tile)
    loss.backward()
    assert loss.dtype == torch.float32
    assert rounded.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("shape", "count", "options"),
    [((4,), 4, {}), ((4, 2), 3, {}), ((4, 2), 4, {"temperature": 0.0}), ((4, 2), 4, {"reduction": "none"})],
)
def test_wrong_arguments_are_refused(shape: tuple[int, ...], count: int, options: dict) -> None:
    with pytest.raises(ValueError, match=r"expected embeddings|temperature|reduction"):
        supcon_loss(torch.ones(shape), torch.zeros(count).long(), **{"temperature": 0.1, **options})


SHARES = {
    "equal ranks": ([0, 1, 0, 1], [1, 0, 1, 0]),
    "uneven ranks": ([0, 1, 0, 1, 1], [1, 0]),
    "one rank has one class": ([0, 0, 0], [1, 0, 1, 1]),
    "positives only on the other rank": ([0, 1], [0, 1]),
    "one rank is all ignored": ([-1, -1], [1, 0, 1, 0]),
    "all ranks have one class": ([1, 1], [1, 1, 1]),
}


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """Per rank, scenario, tile and normalisation: the loss, and the weights' gradient after DDP's averaging."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.save(SHARES, folder / "shares.pt")
    root = Path(nnunet_mgcl.__file__).parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    worker = Path(__file__).with_name("supcon_rank.py")
    ranks = [subprocess.Popen([sys.executable, worker, str(rank), folder], env=environment) for rank in range(2)]
    try:
        assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@FORMS
@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("normed", [False, True], ids=["plain", "normalised"])
def test_two_ranks_equal_one_process_with_the_whole_batch(
    name: str, tile: int | None, normed: bool, two_ranks: Ranks
) -> None:
    """Also where the embeddings are standardised over the batch before, as in H_s."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 4).double()
    network = torch.nn.Sequential(layer, BatchNorm()) if normed else layer
    labels = torch.tensor([label for share in SHARES[name] for label in share])
    inputs = torch.linspace(-1, 1, 3 * len(labels), dtype=torch.float64).reshape(-1, 3).sin().mul(9).cos()
    expected = supcon_loss(network(inputs), labels, temperature=0.1, ignore_index=-1)
    expected.backward()
    for rank in two_ranks:
        loss, gradient = rank[name, tile, normed]
        torch.testing.assert_close(loss, expected.detach())
        torch.testing.assert_close(gradient, layer.weight.grad)
    assert (expected > 0) == (name != "all ranks have one class")
