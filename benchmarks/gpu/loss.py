"""`supcon_loss` against its dense form, plain and compiled, and against the matrix products that any exact form makes.

The numbers of samples are a batch of fine patches in 2d (6 slices of 1,024), and more. "error" is the gradient's
distance from that of float64 (`row_chunks`, which shares no code with ours), over all rows, relative to its length;
"worst row" is that of the worst row, relative to the mean row. Near convergence rounded similarities leave mere noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from gpu.rows import Clock, row
from supcon import FLOOR, OURS, TEMPERATURE, WIDTH, batch, dense, gradient, products, row_chunks, step
from torch import Tensor

from nnunet_mgcl.losses import supcon_loss

Loss = Callable[[Tensor, Tensor], Tensor]
SIZES = {"cuda": (6144, 16_384, 49_152, 100_000), "cpu": (300, 400)}
TILES = {"cuda": (1024, 2048, 4096, 8192), "cpu": (128, 256)}
DENSE_UP_TO = 49_152
MODES = ("float32", "TF32 allowed", "bfloat16 autocast")
WARM, REPETITIONS = 2, 5
LARGEST_ERROR = {"random": 1e-4, "near convergence": 0.1}
"""Of our loss in any precision. Similarities in TF32 or bfloat16 are above it."""


def run(device: str) -> None:
    """Prints the rows: of all sizes, then of the compiled form, which takes longest."""
    exact = {}
    for count in SIZES[device]:
        exact[count] = references(count, device)
        for name, loss, mode in forms(count, device):
            measured(name, loss, mode, count, device, exact[count])
    # On a CPU nothing is to be learnt from generated code, and a compiler may be missing.
    backend = "inductor" if device == "cuda" else "aot_eager"
    for count in filter(lambda count: count <= DENSE_UP_TO, SIZES[device]):
        torch._dynamo.reset()
        compiled = torch.compile(dense, dynamic=False, backend=backend)
        measured("dense, compiled", compiled, MODES[0], count, device, exact[count])


def forms(count: int, device: str) -> Iterator[tuple[str, Loss, str]]:
    """Everything but the compiled form: name, loss, precision."""
    ours = partial(supcon_loss, temperature=TEMPERATURE)
    yield FLOOR, products, MODES[0]
    for mode in MODES:
        yield OURS, ours, mode
    for tile in TILES[device]:
        yield f"{OURS}, tile {tile}", partial(ours, tile=tile), MODES[0]
    if count <= DENSE_UP_TO:
        for mode in MODES:
            yield "dense", dense, mode


def embeddings(count: int, device: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Random ones, and those of a loss near its floor: two tight clusters."""
    noise, labels = batch(count, device)
    centres = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0)).to(device)
    return {"random": (noise, labels), "near convergence": (centres[labels] + 0.05 * noise, labels)}


def references(count: int, device: str) -> dict[str, Tensor]:
    """Gradients in float64; none where they cannot be had."""
    found: dict[str, Tensor] = {}

    def measure() -> dict[str, Any]:
        clock = Clock(torch.device(device), warm=0, beyond=True)
        clock.tick()
        for kind, (vectors, labels) in embeddings(count, device).items():
            found[kind] = gradient(row_chunks, vectors.double(), labels)
            clock.tick()
        return clock.result()

    row({"N": count, "form": "row chunks", "precision": "float64"}, measure)
    return found


def measured(name: str, loss: Loss, mode: str, count: int, device: str, exact: dict[str, Tensor]) -> None:
    """Prints a row."""

    def measure() -> dict[str, Any]:
        given = embeddings(count, device)
        with precision(mode, device):
            clock = Clock(torch.device(device), warm=WARM, beyond=True)
            for _ in range(WARM + REPETITIONS):
                clock.tick()
                step(loss, *given["random"])
            clock.tick()
            found = clock.result()
            if name != FLOOR:  # which is no loss
                for kind, reference in exact.items():
                    found |= errors(kind, gradient(loss, *given[kind]), reference)
        return found | (disagreement(found) if name.startswith(OURS) else {})

    row({"N": count, "form": name, "precision": mode}, measure, may_not_fit=name.startswith("dense"))


def errors(kind: str, found: Tensor, exact: Tensor) -> dict[str, float]:
    """How far a gradient is from that of float64."""
    apart = (found.double() - exact).norm(dim=1)
    lengths = exact.norm(dim=1)
    whole, worst = float(apart.norm() / lengths.norm()), float(apart.max() / lengths.mean())
    return {f"error, {kind}": whole, f"worst row, {kind}": worst}


def disagreement(found: dict[str, Any]) -> dict[str, str]:
    """An error where our gradient is not that of float64."""
    wrong = [kind for kind, most in LARGEST_ERROR.items() if not found.get(f"error, {kind}", 0) <= most]
    return {"error": f"the gradient is wrong: {', '.join(wrong)}"} if wrong else {}


@contextmanager
def precision(mode: str, device: str) -> Iterator[None]:
    """What a user's process may have switched on."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if mode == "TF32 allowed" else "highest")
    mixed = torch.autocast(device, dtype=torch.bfloat16) if mode == "bfloat16 autocast" else nullcontext()
    try:
        with mixed:
            yield
    finally:
        torch.set_float32_matmul_precision(before)
