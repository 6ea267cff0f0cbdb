"""What the size of the pool costs: a start of training, and `mgcl prepare`.

A dataset of a few phantoms has a pool of tiny FLAIR scans (4 x 32 x 32), of which 2,000 are real files; up to 100,000
preprocessed cases are hard links to theirs, each with an entry of its own in the manifest.

- `start`: from the beginning of the trainer's `on_train_start` (network, plan, labelled cases, split, TSS table, pool,
  inputs) to the moment in which the first phase asks for its first batch, and until it has it; memory as Linux counts
  it, then and before. A fresh process each; sizes take turns. Of MGCLTrainer the first phase reads labelled cases, of
  SimCLRTrainer the pool.
- `prepare`: what `mgcl prepare -np 1` does after its imports, by case; then again, with nothing to do.

Seconds of the clock (`wall`), and those in which the process worked (`cpu`), which a busy machine disturbs less.

    python benchmarks/pool_scale.py --work DIR --out pool_scale.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.system.versions import installed_versions

NAME, NUMBER, PLANS, IDENTIFIER = "Dataset590_PoolScale", "590", "MGCLPlans_demo", "nnUNetPlans_2d"
MODALITY, CHANNEL, SHAPE = "FLAIR", 2, (4, 32, 32)
TRAINERS = ("MGCLTrainer", "SimCLRTrainer")
REAL = 2000


def main() -> None:
    """Measures, writes the results and prints them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder, or that of an earlier call")
    parser.add_argument("--out", type=Path, default=Path("pool_scale.json"))
    parser.add_argument("--starts", type=int, nargs="*", default=[1000, 10_000, 100_000], help="prepared cases")
    parser.add_argument("--prepares", type=int, nargs="*", default=[1000, 2000, 5000], help="cases to prepare")
    parser.add_argument("--repetitions", type=int, default=3, help="medians are reported")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    for kind in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{kind}"] = str(args.work.absolute() / kind)
    os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}
    if args.measure:
        print(json.dumps(prepare() if args.measure == "prepare" else start(args.measure)))
        return
    plan(args.work)
    report = {"versions": installed_versions(), "commit": commit(), "machine": machine()}
    for part, sizes, measured in (("start", args.starts, starts), ("prepare", args.prepares, prepares)):
        if sizes:
            report[part] = {"repetitions": args.repetitions, **measured(args.work, sizes, args.repetitions)}
            args.out.write_text(json.dumps(report | {"load at the end": os.getloadavg()[0]}, indent=1) + "\n")
    print(args.out.read_text())


def plan(work: Path) -> None:
    """A dataset of eight phantoms without a pool, planned and preprocessed; an earlier one is taken."""
    if (work / "preprocessed" / NAME / f"{PLANS}.json").is_file():
        return
    raw = work / "raw"
    raw.mkdir(parents=True)
    size = ["--cases", "8", "--unlabelled", "0", "--test", "0", "--matrix", "32", "--slices", "4"]
    called("mgcl", "phantom", "-o", str(raw), *size, "--id", NUMBER, "--name", NAME.split("_")[1])
    planning = "nnUNetv2_plan_and_preprocess", "-d", NUMBER, "-c", "2d", "-np", "1", "-npfp", "1"
    called("env", "nnUNet_n_proc_DA=1", *planning)  # it crashes with 0
    called("mgcl", "plan", "-d", NUMBER, "-c", "2d", "--preset", "demo")


def prepares(work: Path, sizes: list[int], repetitions: int) -> dict[int, dict[str, Any]]:
    """Milliseconds a case of `mgcl prepare`, medians; `first` of a new pool, `again` with nothing to do."""
    result = {}
    for size in sizes:
        write_pool(work, size)
        measured: dict[str, list[dict[str, float]]] = {"first": [], "again": []}
        for _ in range(repetitions):
            shutil.rmtree(work / "preprocessed" / NAME / f"{IDENTIFIER}_unlabelled", ignore_errors=True)
            for kind in measured:
                measured[kind].append(in_new_process(work, "prepare"))
        result[size] = {
            f"{kind}, {clock} ms a case": round(statistics.median(1000 * one[clock] / size for one in own), 2)
            for kind, own in measured.items()
            for clock in ("wall", "cpu")
        } | {"its own MiB": max(one["its own MiB"] for one in measured["first"])}
        print(size, result[size], flush=True)
    return result


def prepare() -> dict[str, float]:
    """What the command does, in this process."""
    from nnunet_mgcl.data.layout import DatasetLayout
    from nnunet_mgcl.data.prepare import load_plans, prepare_dataset
    from nnunet_mgcl.pretraining.lookup import register_methods

    register_methods()
    layout = DatasetLayout.find(NUMBER)
    plans = load_plans(layout, PLANS)
    began = now()
    prepare_dataset(layout, plans, "2d", 1, lambda _: None, refresh=True, progress=False)
    wall, cpu = (then - before for then, before in zip(now(), began, strict=True))
    return {"wall": wall, "cpu": cpu} | memory()


def write_pool(work: Path, size: int) -> None:
    """So many scans of noise in `imagesUn`."""
    folder = work / "raw" / NAME / "imagesUn"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(size):
        image = sitk.GetImageFromArray(random.normal(100, 20, SHAPE).astype(np.float32))
        image.SetSpacing((6.0, 6.0, 6.0))
        sitk.WriteImage(image, str(folder / f"pool_{number:06}_{CHANNEL:04}.nii.gz"))
    os.utime(folder, (1, 1))  # as if it had not just been filled


def starts(work: Path, sizes: list[int], repetitions: int) -> dict[str, dict[int, dict[str, Any]]]:
    """Medians of the seconds and MiB of a start, by trainer and size."""
    write_pool(work, REAL)
    in_new_process(work, "prepare")
    pool = work / "preprocessed" / NAME / f"{IDENTIFIER}_unlabelled"
    link_clones(pool, max(sizes))
    listing = manifests(pool, sizes, work / "manifests")
    measured: dict[str, dict[int, list[dict[str, float]]]] = {name: {n: [] for n in sizes} for name in TRAINERS}
    for _ in range(repetitions):
        for size in sizes:
            shutil.copyfile(listing[size], pool / "manifest.sqlite")
            for trainer in TRAINERS:
                shutil.rmtree(work / "results", ignore_errors=True)
                measured[trainer][size].append(in_new_process(work, trainer))
                print(trainer, size, measured[trainer][size][-1], flush=True)
    return {
        trainer: {
            size: {key: round(statistics.median(one[key] for one in own), 2) for key in own[0]} | {"all": own}
            for size, own in by_size.items()
        }
        for trainer, by_size in measured.items()
    }


def in_new_process(work: Path, what: str) -> dict[str, float]:
    """What `prepare` or `start` measures, in a fresh process."""
    printed = called(sys.executable, __file__, "--work", str(work), "--measure", what)
    measured: dict[str, float] = json.loads(printed.splitlines()[-1])
    return measured


def link_clones(pool: Path, size: int) -> None:
    """Preprocessed files of the cases that are no real ones."""
    for number in range(REAL, size):
        for suffix in (".b2nd", "_seg.b2nd", ".pkl"):
            source, target = (pool / MODALITY / f"pool_{n:06}{suffix}" for n in (number % REAL, number))
            if not target.exists():
                os.link(source, target)


def manifests(pool: Path, sizes: list[int], aside: Path) -> dict[int, Path]:
    """One manifest a size, which lists so many cases and counts as prepared."""
    from nnunet_mgcl.data.pool.manifest import MANIFEST, Manifest

    with Manifest(pool) as manifest:
        real = manifest.entries(MODALITY)
    result = {size: aside / f"{size}.sqlite" for size in sorted(sizes, reverse=True)}
    aside.mkdir(exist_ok=True)
    for number in range(REAL, max(sizes)):
        case = f"pool_{number:06}"
        real[case] = [entry | {"name": f"{case}_{CHANNEL:04}.nii.gz"} for entry in real[f"pool_{number % REAL:06}"]]
    for size, path in result.items():
        with Manifest(pool, writes=True) as manifest:
            wanted = sorted(real)[:size]
            manifest.forget(MODALITY, set(manifest.cases(MODALITY)) - set(wanted))
            for case in sorted(set(wanted) - set(manifest.cases(MODALITY))):
                manifest.add(MODALITY, case, real[case], SHAPE[0])
            manifest.store_digests()
            manifest.save()
        shutil.copyfile(pool / MANIFEST, path)
    return result


class Reached(BaseException):
    """The first batch is there."""


def start(trainer: str) -> dict[str, float]:
    """Starts a training in this process, up to its first batch."""
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    from nnunet_mgcl.engine import loading
    from nnunet_mgcl.system.resources import offer_trainers

    offer_trainers()
    moments = {}

    class Watched(loading.SingleThreadedAugmenter):
        def __next__(self) -> None:
            moments["asked"] = now()
            super().__next__()
            moments["there"] = now()
            raise Reached

    loading.SingleThreadedAugmenter = Watched
    own = get_trainer_from_args(NAME, "2d", 0, trainer, PLANS, device=torch.device("cpu"))
    before = {f"{name}, before": value for name, value in memory().items()}
    began = now()
    with suppress(Reached):
        own.on_train_start()
    return (
        {
            f"{moment}, {clock} s": round(then - start, 3)
            for moment, clocks in moments.items()
            for clock, then, start in zip(("wall", "cpu"), clocks, began, strict=True)
        }
        | memory()
        | before
    )


def now() -> tuple[float, float]:
    """Seconds of the clock, and of this process's work."""
    return time.perf_counter(), time.process_time()


def memory() -> dict[str, float]:
    """The most that this process has had in memory, with torch's libraries, and what it holds itself."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    kinds = {"peak with libraries": "VmHWM", "its own": "RssAnon"}
    return {f"{name} MiB": round(int(status[key].split()[0]) / 1024) for name, key in kinds.items()}


def called(*command: str) -> str:
    """What a command prints; its messages where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def commit() -> str:
    """The repository's, and whether it had changes."""
    return called("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40").strip()


def machine() -> dict[str, object]:
    """Where it ran, and how busy that was."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {"cpu": names[0], "cores": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()[0]}


if __name__ == "__main__":
    main()
