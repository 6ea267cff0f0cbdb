"""The contrastive loss against other implementations: time and memory of forward + backward, and error of the gradient.

All are timed in one process and take turns, in random order; memory is measured in a fresh process each. The floor is
what the tiles multiply, without anything else.

    taskset -c 0 python benchmarks/supcon.py --device cpu --n 70,1024,6144,16384 --out DIR

Peers that are not installed (pip install '.[benchmarks]') or do not fit into the memory are left out, and said to be.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nnunet_mgcl.losses import supcon_loss, supcon_tiles

TEMPERATURE, WIDTH, LESION, CHUNK = 0.1, 128, 0.03, 1024
OURS, FLOOR, PEER = "ours", "matrix products only", "pytorch-metric-learning"
SLOW = 20
"""Seconds; what takes longer is not repeated."""


def main() -> None:
    """Measures, writes results.json and two pictures, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--n", type=integers, default=[70, 1024, 6144, 16384], help="numbers of samples")
    parser.add_argument("--tiles", type=integers, default=[], help="also time these sides of a tile")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a CPU")
    parser.add_argument("--repetitions", type=int, help="default: 300 for a few samples, 3 for many")
    parser.add_argument("--out", type=Path, default=Path("supcon_benchmark"))
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        print(peak_memory(args.memory_of, args.n[0], args.device))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(args.device), "threads": args.threads, "samples": {}}
    for count in sorted(args.n):
        memory = memory_of_all(count, args, report["samples"])
        names = [name for name in memory if memory[name] is not None]
        report["samples"][count] = with_ratios(time_all(names, count, args), memory)
        show(count, report["samples"][count])
    if find_spec("pytorch_metric_learning"):
        report["gradient_error"] = gradient_errors(min(6144, max(args.n)), args.device)
        print(json.dumps(report["gradient_error"], indent=2))
    (args.out / "results.json").write_text(json.dumps(report, indent=2))
    draw(report["samples"], "median", "forward + backward, s", args.out / "supcon_time.svg")
    draw(report["samples"], "memory_mib", "peak memory, MiB", args.out / "supcon_memory.svg", lowest=1)


def integers(text: str) -> list[int]:
    """Reads `1,2,3`."""
    return [int(word) for word in text.split(",")]


# --- what is compared -------------------------------------------------------------------------------------------------


def dense(vectors: Tensor, labels: Tensor) -> Tensor:
    """Writes the loss down as it is: N x N matrices and autograd."""
    unit = F.normalize(vectors, dim=1)
    return _mean_of_rows(unit, labels, torch.arange(len(labels), device=labels.device))


def row_chunks(vectors: Tensor, labels: Tensor) -> Tensor:
    """Computes some rows of the matrix at a time, and again in backward."""
    unit = F.normalize(vectors, dim=1)
    rows = torch.arange(len(labels), device=labels.device).split(CHUNK)
    shares = [checkpoint(_mean_of_rows, unit, labels, chunk, use_reentrant=False) for chunk in rows]
    return sum(shares)


def _mean_of_rows(unit: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
    """These rows' summands of the loss; there is an anchor."""
    everyone = torch.arange(len(labels), device=labels.device)
    itself = rows[:, None] == everyone
    similarity = (unit[rows] @ unit.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    same = (labels[rows, None] == labels) & ~itself
    positives = same.sum(dim=1)
    anchors = (positives > 0) & (positives < len(labels) - 1)
    losses = similarity.logsumexp(dim=1) - torch.where(same, similarity, 0).sum(dim=1) / positives.clamp(min=1)
    members = (labels[:, None] == labels.unique()).sum(dim=0) if len(rows) < len(labels) else None
    count = anchors.sum() if members is None else members[members > 1].sum()
    return torch.where(anchors, losses, 0).sum() / count


def products(vectors: Tensor, labels: Tensor) -> Tensor:
    """Multiplies what the tiles multiply, and nothing else."""
    side = supcon_tiles.CPU_TILE if vectors.device.type == "cpu" else supcon_tiles.GPU_TILE
    vectors, gradient = vectors.detach(), torch.zeros_like(vectors)
    buffer = vectors.new_empty(min(side, len(vectors)) ** 2)
    for step in ("forward", "backward"):
        for top in range(0, len(vectors), side):
            for left in range(top, len(vectors), side):
                rows, columns = vectors[top : top + side], vectors[left : left + side]
                tile = buffer[: len(rows) * len(columns)].view(len(rows), len(columns))
                torch.mm(rows, columns.T, out=tile)
                if step == "backward":
                    gradient[top : top + side].addmm_(tile, columns)
                    if left > top:
                        gradient[left : left + side].addmm_(tile.T, rows)
    return gradient


def implementations(tiles: list[int]) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Everything to compare, by name."""
    found = {
        OURS: partial(supcon_loss, temperature=TEMPERATURE),
        "dense": dense,
        "dense, compiled": torch.compile(dense, dynamic=False),
        "row chunks, checkpointed": row_chunks,
        FLOOR: products,
    }
    if find_spec("pytorch_metric_learning"):
        from pytorch_metric_learning.losses import SupConLoss

        found[PEER] = SupConLoss(temperature=TEMPERATURE)
    else:
        print(f"{PEER} is not installed: left out")
    for tile in tiles:
        found[f"{OURS}, tile {tile}"] = partial(supcon_loss, temperature=TEMPERATURE, tile=tile)
    return found


# --- measurements -----------------------------------------------------------------------------------------------------


def batch(count: int, device: str) -> tuple[Tensor, Tensor]:
    """Random embeddings, 3 % of them of the rare class and at least two."""
    generator = torch.Generator().manual_seed(count)
    labels = torch.zeros(count, dtype=torch.int64)
    labels[torch.randperm(count, generator=generator)[: max(2, round(LESION * count))]] = 1
    return torch.randn(count, WIDTH, generator=generator).to(device), labels.to(device)


def step(loss: Callable[[Tensor, Tensor], Tensor], vectors: Tensor, labels: Tensor) -> float:
    """Runs forward and backward once; returns seconds."""
    vectors = vectors.detach().requires_grad_()
    synchronise(vectors)
    started = time.perf_counter()
    value = loss(vectors, labels)
    if value.requires_grad:
        value.backward()
    synchronise(vectors)
    return time.perf_counter() - started


def synchronise(vectors: Tensor) -> None:
    """Waits for a GPU."""
    if vectors.device.type == "cuda":
        torch.cuda.synchronize()


def time_all(names: list[str], count: int, args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every repetition; the implementations take turns."""
    torch._dynamo.reset()
    losses = {name: loss for name, loss in implementations(args.tiles).items() if name in names}
    vectors, labels = batch(count, args.device)
    small = batch(300, args.device)
    for name, loss in losses.items():
        for _ in range(3):
            step(loss, *((vectors, labels) if "compiled" in name or count <= 6144 else small))
            if count > 1024:
                break
    repetitions = args.repetitions or max(3, min(300, 30_000 // count))
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    turns = random.Random(0)
    for _ in range(repetitions):
        for name in turns.sample(list(losses), len(losses)):  # caches are as the one before left them
            if not seconds[name] or seconds[name][0] < SLOW:
                seconds[name].append(step(losses[name], vectors, labels))
    return seconds


def with_ratios(seconds: dict[str, list[float]], memory: dict[str, float | None]) -> dict[str, dict]:
    """Adds median, range, memory, and how many times the time of ours each repetition took."""
    result = {}
    for name, peak in memory.items():
        result[name] = {"memory_mib": peak, "seconds": seconds.get(name, [])}
        if name in seconds:
            ratios = [other / own for other, own in zip(seconds[name], seconds[OURS], strict=False)]
            result[name] |= {"median": statistics.median(seconds[name]), **spread("", seconds[name])}
            result[name] |= {"ratio": statistics.median(ratios), **spread("ratio_", ratios)}
    return result


def spread(prefix: str, values: list[float]) -> dict[str, float]:
    """Smallest and largest."""
    return {f"{prefix}min": min(values), f"{prefix}max": max(values)}


def memory_of_all(count: int, args: argparse.Namespace, smaller: dict[int, dict]) -> dict[str, float | None]:
    """Peak memory in MiB beyond the inputs; None where it does not fit."""
    memory: dict[str, float | None] = {}
    for name in implementations(args.tiles):
        if expected_memory(name, count, smaller) > 0.8 * total_memory(args.device):
            print(f"{count} {name}: would not fit into the memory, left out")
            memory[name] = None
            continue
        command = [sys.executable, __file__, "--memory-of", name, "--n", str(count), "--device", args.device]
        tiles = ["--tiles", ",".join(map(str, args.tiles))] if args.tiles else []
        done = subprocess.run([*command, *tiles, "--threads", str(args.threads)], capture_output=True, text=True)
        memory[name] = float(done.stdout.split()[-1]) if done.returncode == 0 else None
        if done.returncode:
            print(f"{count} {name}: failed, left out\n{done.stderr[-400:]}")
    return memory


def expected_memory(name: str, count: int, smaller: dict[int, dict]) -> float:
    """MiB, by the square of the number of samples from the last measurement."""
    if not smaller:
        return 0
    last = max(smaller)
    peak = smaller[last].get(name, {}).get("memory_mib")
    return math.inf if peak is None else peak * (count / last) ** 2 if peak > 100 else 0


def total_memory(device: str) -> float:
    """MiB."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[1] / 2**20
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_memory(name: str, count: int, device: str) -> float:
    """MiB that one step takes at its peak, beyond what the process has before."""
    loss = implementations([int(name.split()[-1])] if "tile " in name else [])[name]
    vectors, labels = batch(count, device)
    step(loss, *((vectors, labels) if "compiled" in name else batch(300, device)))
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, vectors, labels)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = resident("VmRSS")
    step(loss, vectors, labels)
    return resident("VmHWM") - before


def resident(key: str) -> float:
    """MiB of this process, on Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def gradient_errors(count: int, device: str) -> dict[str, dict[str, float]]:
    """Relative error of the gradient against float64, where the embeddings are random, near convergence, collapsed."""
    from pytorch_metric_learning.losses import SupConLoss

    noise, labels = batch(count, device)
    centres = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0)).to(device)
    errors = {}
    for name, vectors in (
        ("random", noise),
        ("near convergence", centres[labels] + 0.05 * noise),
        ("collapsed", centres[0] + 1e-3 * noise),
    ):
        exact = gradient(row_chunks, vectors.double(), labels)
        with torch.autocast(device, dtype=torch.bfloat16):
            mixed = gradient(SupConLoss(temperature=TEMPERATURE), vectors, labels)
        found = {
            OURS: gradient(partial(supcon_loss, temperature=TEMPERATURE), vectors, labels),
            PEER: gradient(SupConLoss(temperature=TEMPERATURE), vectors, labels),
            f"{PEER}, bfloat16 autocast": mixed,
        }
        errors[name] = {key: float((value - exact).norm() / exact.norm()) for key, value in found.items()}
    return errors


def gradient(loss: Callable[[Tensor, Tensor], Tensor], vectors: Tensor, labels: Tensor) -> Tensor:
    """The gradient by the embeddings."""
    vectors = vectors.detach().requires_grad_()
    loss(vectors, labels).backward()
    return vectors.grad


# --- reports ----------------------------------------------------------------------------------------------------------


def machine(device: str) -> dict[str, str]:
    """What the figures depend on."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    packages = ["torch", "numpy", *(["pytorch-metric-learning"] if find_spec("pytorch_metric_learning") else [])]
    about = {"cpu": names[0], "cores": str(len(os.sched_getaffinity(0))), "python": platform.python_version()}
    about |= {package: version(package) for package in packages}
    return about | ({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {})


def show(count: int, results: dict[str, dict]) -> None:
    """Prints a table."""
    print(f"\nN = {count}: median (min - max) ms, times ours (min - max), peak MiB, repetitions")
    for name, row in sorted(results.items(), key=lambda item: item[1].get("median", math.inf)):
        if "median" not in row:
            print(f"  {name:26} left out")
            continue
        times = "{:.2f} ({:.2f} - {:.2f})".format(*(1e3 * row[key] for key in ("median", "min", "max")))
        ratios = "{:.2f} ({:.2f} - {:.2f})".format(*(row[key] for key in ("ratio", "ratio_min", "ratio_max")))
        print(f"  {name:26} {times:34} {ratios:22} {row['memory_mib']:8.0f} {len(row['seconds']):4}", flush=True)


def draw(samples: dict[int, dict], key: str, title: str, path: Path, lowest: float = 0) -> None:
    """Draws a line an implementation over the number of samples; a process's memory below 1 MiB is noise."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "supcon"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name in dict.fromkeys(name for row in samples.values() for name in row):
        points = [
            (count, row[name][key]) for count, row in samples.items() if (row.get(name, {}).get(key) or 0) > lowest
        ]
        style = {OURS: {"linewidth": 2.5, "color": "black"}, FLOOR: {"linestyle": ":", "color": "grey"}}.get(name, {})
        axes.loglog(*zip(*points, strict=True), marker=".", label=name, **style) if points else None
    axes.set(xlabel="samples N", ylabel=title)
    axes.legend(frameon=False, fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
