from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from nnunet_mgcl.losses import supcon_dense, supcon_loss, supcon_tiles

FORMS = pytest.mark.parametrize("tile", [None, 4], ids=["dense", "tiled"])


def draw(count: int, width: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(count, width, dtype=dtype, generator=generator).requires_grad_()
    return vectors, torch.randint(-1, 3, (count,), generator=generator)


def test_operators_keep_their_promises() -> None:
    vectors, labels = draw(13)
    unit, ones = vectors.detach(), torch.ones(13, dtype=torch.float64)
    for operator, arguments in (
        (supcon_dense._dense_operator, (unit, labels, labels > 0, 0.1)),
        (supcon_tiles._row_sums_operator, (unit, ones, 3, 11, 4)),
        (supcon_tiles._gradient_operator, (unit, labels.double(), ones, ones, 3, 11, 4)),
    ):
        assert set(torch.library.opcheck(operator, arguments).values()) == {"SUCCESS"}


@FORMS
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_loss_compiles_as_a_whole(backend: str, tile: int | None) -> None:
    def loss_of(vectors: Tensor, labels: Tensor) -> Tensor:
        return supcon_loss(vectors.tanh(), labels, temperature=0.1, ignore_index=-1, tile=tile)

    torch._dynamo.reset()
    compiled = torch.compile(loss_of, fullgraph=True, backend=backend)
    for count in (11, 14):
        vectors, labels = draw(count, dtype=torch.float32)
        plain = loss_of(vectors, labels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = compiled(vectors, labels)
        torch.testing.assert_close(loss, plain)
        torch.testing.assert_close(torch.autograd.grad(loss, vectors), torch.autograd.grad(plain, vectors))


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="this torch has one setting for all devices")
def test_similarities_are_multiplied_in_full_precision_and_the_setting_survives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = set()

    def spied(*arguments: Tensor) -> Tensor:
        seen.add((torch.backends.mkldnn.matmul.fp32_precision, torch.is_autocast_enabled("cpu")))
        return exponentials(*arguments)

    exponentials = supcon_tiles._exponentials
    monkeypatch.setattr(supcon_tiles, "_exponentials", spied)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        vectors, labels = draw(5, dtype=torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            supcon_loss(vectors, labels, temperature=0.1, tile=4).backward()
        assert seen == {("ieee", False)}
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.set_float32_matmul_precision(before)


class LargestTensor(TorchDispatchMode):
    """Notes the most elements that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


def test_memory_grows_linearly_with_the_number_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_row_sums", "_gradient"):  # an operator would hide what happens in it
        monkeypatch.setattr(supcon_tiles, f"{name}_operator", getattr(supcon_tiles, name))
    largest = {}
    for count in (600, 1200):
        vectors, labels = draw(count, 4, torch.float32)
        with LargestTensor() as mode:
            supcon_loss(vectors, labels, temperature=0.1, ignore_index=-1, tile=40).backward()
        largest[count] = mode.elements
    assert largest[1200] <= 2 * largest[600]
    assert largest[1200] < 1200**2 / 100


def test_nothing_waits_for_a_gpu() -> None:
    """Fake tensors have no numbers: what needs one on the host, `.item()` or selecting by a mask, raises."""
    with FakeTensorMode():
        vectors, labels, valid = torch.empty(9, 3), torch.empty(9, dtype=torch.int64), torch.empty(9, dtype=torch.bool)
        numbers = torch.empty(9)
        supcon_tiles._row_sums(vectors, numbers, 2, 7, 4)
        supcon_tiles._gradient(vectors, numbers, numbers, numbers, 2, 7, 4)
        supcon_dense._dense(vectors, labels, valid, 0.1)
        for tile in (None, 4):
            supcon_loss(vectors.requires_grad_(), labels, temperature=0.1, ignore_index=-1, tile=tile).backward()


@pytest.mark.slow
def test_gradient_in_float32_is_as_exact_as_that_of_pytorch_metric_learning() -> None:
    pytest.importorskip("pytorch_metric_learning")
    path = Path(__file__).parents[3] / "benchmarks" / "supcon.py"
    benchmark = run_path(str(path))
    errors = benchmark["gradient_errors"](6144, "cpu")
    for embeddings, times in (("random", 2), ("near convergence", 2), ("collapsed", 10)):
        assert errors[embeddings]["ours"] <= times * errors[embeddings]["pytorch-metric-learning"]
    converged = errors["near convergence"]
    assert 10 * converged["ours"] <= converged["pytorch-metric-learning, bfloat16 autocast"]
