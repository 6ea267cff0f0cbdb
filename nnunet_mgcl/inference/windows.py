"""nnU-Net's sliding window with fewer calls of the network: windows and their mirrored copies in batches.

The sums are nnU-Net's: each window's mean over its mirrored copies, times the Gaussian, in the order of the windows,
into an accumulator of half precision. What a batch may change is the network's own arithmetic, where a library chooses
another kernel for another batch (PyTorch on the CPU does for small maps of a single image).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

Slicer = tuple[slice | int, ...]
"""A window of an image `(C, Z, Y, X)`; in 2d its second entry is the slice's number."""
AHEAD = 2
"""Batches a worker that may wait to be summed."""
FREE_SHARE = 0.7
"""Of a GPU's free memory, that a batch may take."""


@dataclass(frozen=True)
class Batching:
    """How windows are put together.

    Attributes:
        size: Samples that pass the network together, mirrored copies included; one window at least.
        workers: Threads that each have a batch at work (CPU); PyTorch then computes with one thread in each.
    """

    size: int
    workers: int = 1


def mirrored(axes: Sequence[int] | None) -> list[tuple[int, ...]]:
    """The axes `(B, C, ...)` along which a window's copies are flipped, nnU-Net's order; the first is the window."""
    own = [axis + 2 for axis in axes or ()]
    return [(), *(each for number in range(len(own)) for each in combinations(own, number + 1))]


@torch.inference_mode()
def accumulate(
    network: nn.Module, image: Tensor, slicers: Sequence[Slicer], axes: Sequence[int] | None, outputs: int,
    gaussian: Tensor | int, device: torch.device, batching: Batching,
) -> Tensor:  # fmt: skip
    """Logits `(L, Z, Y, X)`, half precision, of an image that is as large as the patch at least.

    Args:
        network: Returns logits `(B, L, ...)`.
        image: `(C, Z, Y, X)`, where the sums are kept.
        slicers: The windows.
        axes: Of the patch, that may be mirrored.
        outputs: L.
        gaussian: Weights of a window's voxels.
        device: The network's.
        batching: How the windows are put together.

    Raises:
        RuntimeError: A sum is infinite, as in nnU-Net.
    """
    logits = torch.zeros((outputs, *image.shape[1:]), dtype=torch.half, device=image.device)
    weights = torch.zeros(image.shape[1:], dtype=torch.half, device=image.device)
    windows = predicted_windows(network, image, slicers, mirrored(axes), device, batching)
    for slicer, window in zip(slicers, windows, strict=True):
        own = window.to(image.device)
        logits[slicer] += own * gaussian
        weights[slicer[1:]] += gaussian
    torch.div(logits, weights, out=logits)
    if torch.any(torch.isinf(logits)):
        raise RuntimeError("infinite values in the predicted logits")
    return logits


def predicted_windows(
    network: nn.Module, image: Tensor, slicers: Sequence[Slicer], flips: Sequence[tuple[int, ...]],
    device: torch.device, batching: Batching,
) -> Iterator[Tensor]:  # fmt: skip
    """Each window's mean over its mirrored copies, `(L, ...)`; arguments as in `accumulate`, flips of `mirrored`."""
    step = min(len(slicers), max(1, batching.size // len(flips)))
    groups = [slicers[first : first + step] for first in range(0, len(slicers), step)]

    @torch.inference_mode()
    def predict(group: Sequence[Slicer]) -> Tensor:
        filled = [*group, *[group[-1]] * (step - len(group))]  # batches of one size: one kernel
        windows = torch.stack([image[slicer] for slicer in filled]).to(device)
        copies = network(torch.cat([torch.flip(windows, axes) if axes else windows for axes in flips]))
        total, *others = copies.chunk(len(flips))
        for axes, own in zip(flips[1:], others, strict=True):
            total = total + torch.flip(own, axes)
        return (total / len(flips) if others else total)[: len(group)]

    if batching.workers == 1:
        for group in groups:
            yield from predict(group)
        return
    with (
        _one_thread_each(),
        ThreadPoolExecutor(batching.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        waiting = []
        for group in groups:
            waiting.append(pool.submit(predict, group))
            if len(waiting) > AHEAD * batching.workers:
                yield from waiting.pop(0).result()
        for future in waiting:
            yield from future.result()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Within it PyTorch's operations have one thread each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def fitting_batch(network: nn.Module, window: Tensor, copies: int) -> int:
    """Samples of which a batch fits into the free memory of the window's GPU, by what one of them takes.

    Args:
        network: On this GPU.
        window: `(1, C, ...)`.
        copies: Mirrored copies of a window, which are not divided.
    """
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(window.device)
    before = torch.cuda.memory_allocated(window.device)
    network(window)
    taken = max(1, torch.cuda.max_memory_allocated(window.device) - before)
    free, _ = torch.cuda.mem_get_info(window.device)
    return max(copies, int(FREE_SHARE * free / taken) // copies * copies)


@torch.inference_mode()
def same_in_batches(network: nn.Module, windows: Tensor) -> bool:
    """Whether the network says of windows `(B, C, ...)` together what it says of each alone, bit by bit."""
    together = network(windows)
    return torch.equal(together, torch.cat([network(window[None]) for window in windows]))
