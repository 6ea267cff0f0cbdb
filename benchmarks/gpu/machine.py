"""What the figures of the GPU check depend on."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from gpu.rows import row

PACKAGES = ("torch", "triton", "numpy", "nnunetv2", "pydantic", "monai", "pytest")


def run(device: str) -> None:
    """Prints a row."""
    row({"python": platform.python_version()}, lambda: packages() | (gpu() if device == "cuda" else {}))


def packages() -> dict[str, Any]:
    """Versions; a package that is missing explains what fails later."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def gpu() -> dict[str, Any]:
    """The GPU, its memory, CUDA and the driver."""
    about = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        driver = "unknown"
    return {"gpu": about.name, "GiB": round(about.total_memory / 2**30), "cuda": torch.version.cuda, "driver": driver}
