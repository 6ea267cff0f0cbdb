"""What every part of the GPU check measures with: rows on stdout, which outlive a part that is killed, and a clock."""

from __future__ import annotations

import gc
import json
import statistics
import time
import traceback
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

BEGUN, ROW = "GPU_CHECK_BEGUN ", "GPU_CHECK_ROW "
"""Lines of a part that the check reads back from its log."""


def row(about: dict[str, Any], measure: Callable[[], dict[str, Any]], may_not_fit: bool = False) -> dict[str, Any]:
    """Prints and returns a row; an error is part of it, and what follows goes on.

    Args:
        about: What is measured; begins the row.
        measure: Returns the rest of it.
        may_not_fit: Whether too little GPU memory is a result and no error.
    """
    print(BEGUN + json.dumps(about), flush=True)
    try:
        found = measure()
    except (Exception, SystemExit) as error:  # SystemExit is how the trainers end with one message
        traceback.print_exc()
        found = {"error": last_lines(f"{type(error).__name__}: {error}")}
        if may_not_fit and "out of memory" in str(error):  # PyTorch's error, or the compiler's around it
            found = {"left out": "does not fit into the GPU"}
    found = about | found
    print(ROW + json.dumps(found), flush=True)
    return found


def last_lines(text: str, number: int = 8) -> str:
    """The end of an error."""
    return "\n".join(text.strip().splitlines()[-number:])[-1500:]


class Clock:
    """Seconds from one tick to the next, after the warm ones, and the peak of the GPU's memory meanwhile.

    Args:
        device: What computes.
        warm: Iterations that do not count: kernels are chosen and code is compiled.
        beyond: Whether the peak is counted from what is there now, and not from nothing.
    """

    def __init__(self, device: torch.device, warm: int, beyond: bool = False) -> None:
        self.on_gpu, self.warm = device.type == "cuda", warm
        self.ticks: list[float] = []
        if self.on_gpu:
            gc.collect()
            torch.cuda.empty_cache()
            self.before = torch.cuda.memory_allocated() if beyond else 0

    def tick(self) -> None:
        """Between two iterations, before the first and after the last."""
        if self.on_gpu:
            torch.cuda.synchronize()
            self.peak = torch.cuda.max_memory_allocated()
            if len(self.ticks) <= self.warm:  # trying out kernels takes memory that training does not
                torch.cuda.reset_peak_memory_stats()
        self.ticks.append(time.perf_counter())

    def result(self) -> dict[str, Any]:
        """Median, fastest, slowest and, of all, first iteration in seconds; on a GPU also the peak."""
        seconds = [end - start for start, end in pairwise(self.ticks)]
        counted = seconds[self.warm :]
        found = {"seconds": statistics.median(counted), "fastest": min(counted), "slowest": max(counted)}
        found |= {"repetitions": len(counted), "first": seconds[0]}
        return found | ({"peak MiB": round((self.peak - self.before) / 2**20)} if self.on_gpu else {})
