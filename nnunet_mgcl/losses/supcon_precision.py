"""Products of similarities in the precision of their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Multiplies float32 matrices as such: no autocast, no TF32, no bfloat16, whatever the process has set.

    Near convergence the gradient is a small difference of large sums: rounded similarities leave only noise of it.
    """
    backends = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    with torch.autocast(device_type, enabled=False):
        if not all(hasattr(backend, "fp32_precision") for backend in backends):  # torch < 2.9
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
            try:
                yield
            finally:
                torch.set_float32_matmul_precision(before)
            return
        precisions = [backend.fp32_precision for backend in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, precision in zip(backends, precisions, strict=True):
                backend.fp32_precision = precision
