"""What an iteration of each phase costs, and what share of it is waiting for the batch.

One fold is trained by nnU-Net's own entry point, in this process, while clocks look on: how long the loop waits for a
batch, computes on it, and does what follows an epoch (checkpoint, curves, kNN). Without worker processes
(`nnUNet_n_proc_DA=0`, always here) waiting is the whole cost of loading and augmenting. The clocks count the seconds in
which the process worked, on one core, so that a busy machine disturbs them little. `--uncut` undoes what was made
cheaper: every epoch draws its curves, and (with a plan of `tss.copies=null`) the heads read every case anew.

    mgcl phantom -o $nnUNet_raw --cases 60 --unlabelled 60 --test 0 --matrix 64 --slices 8 --seed 4 --id 618
    nnUNetv2_plan_and_preprocess -d 618 -c 2d
    mgcl plan -d 618 -c 2d --preset demo --set tss.head=mrff --set tss.epochs=20
    mgcl prepare -d 618 -c 2d -p MGCLPlans_demo
    mgcl plan -d 618 -c 2d --preset demo --set tss.head=mrff --set tss.epochs=20 --set tss.copies=4 -o MGCLPlans_copies
    python benchmarks/training_cost.py 618 2d -p MGCLPlans_demo --uncut --out uncut.json
    python benchmarks/training_cost.py 618 2d -p MGCLPlans_copies --out cut.json
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

PARTS = ("waiting", "computing", "after")


class Clocks:
    """Seconds of each phase by what they went into, and its iterations."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys((*PARTS, "total"), 0.0))
        self.iterations: dict[str, int] = defaultdict(int)

    def timed(self, call: Callable[..., Any], part: str, phase: Callable[..., str], iterations: int = 0) -> Any:
        """`call` with a clock; `phase` names it from the call's arguments."""

        def clocked(*given: Any, **named: Any) -> Any:
            name, started = phase(*given), time.process_time()
            try:
                return call(*given, **named)
            finally:
                self.seconds[name][part] += time.process_time() - started
                self.iterations[name] += iterations

        return clocked

    def waiting(self, phase: str, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches, with a clock on each."""
        while True:
            started = time.process_time()
            batch = next(batches)
            self.seconds[phase]["waiting"] += time.process_time() - started
            yield batch

    def rows(self) -> list[dict[str, Any]]:
        """A row a phase: milliseconds an iteration, shares of the total."""
        found = []
        for phase, own in self.seconds.items():
            total, number = own["total"], max(1, self.iterations[phase])
            about = {"phase": phase, "iterations": number, "seconds": total, "ms an iteration": 1000 * total / number}
            known = sum(own[part] for part in PARTS)
            shares = {part: own[part] / total for part in PARTS} if known else {}
            found.append(about | shares)
        return found


def watched(clocks: Clocks) -> list[Any]:
    """The patches that put the clocks into a training."""
    from nnunet_mgcl.engine import training_loop
    from nnunet_mgcl.pretraining.pseudo_label import PseudoLabel
    from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer
    from nnunet_mgcl.tss import phase as tss

    loop = training_loop._ModuleTrainer
    run_epoch, train_step, started = loop.run_epoch, MGCLTrainer.train_step, {"at": 0.0}

    def of_job(trainer: Any, *_: Any) -> str:
        return str(trainer.job.phase)

    def epoch(trainer: Any, number: int, batches: Iterator[Any]) -> float:
        return float(run_epoch(trainer, number, clocks.waiting(trainer.job.phase, batches)))

    def begin(trainer: Any) -> None:
        on_start(trainer)
        started["at"] = time.process_time()

    def step(trainer: Any, batch: Any) -> Any:
        began = time.process_time()
        own = clocks.seconds["segment"]
        own["waiting"] += began - started["at"]
        result = train_step(trainer, batch)
        started["at"] = time.process_time()
        own["computing"] += started["at"] - began
        clocks.iterations["segment"] += 1
        return result

    on_start = MGCLTrainer.on_train_epoch_start
    by_job = {"_iterate": ("computing", 1), "_finish_epoch": ("after", 0)}
    patches = [
        mock.patch.object(loop, name, clocks.timed(getattr(loop, name), part, of_job, number))
        for name, (part, number) in by_job.items()
    ]
    label = clocks.timed(PseudoLabel._label_case, "total", lambda phase, *_: str(phase.name), 1)
    whole = clocks.timed(training_loop._train, "total", lambda _, job: job.phase)
    volumes = clocks.timed(tss.read_copy, "total", lambda *_: "tss copies", 1)
    return [
        *patches,
        mock.patch.object(loop, "run_epoch", epoch),
        mock.patch.object(training_loop, "_train", whole),
        mock.patch.object(PseudoLabel, "_label_case", label),
        mock.patch.object(tss, "read_copy", volumes),
        mock.patch.object(MGCLTrainer, "on_train_epoch_start", begin),
        mock.patch.object(MGCLTrainer, "train_step", step),
    ]


def main() -> None:
    """Trains a fold and prints a row a phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("configuration")
    parser.add_argument("-p", default="MGCLPlans_demo", help="the plan")
    parser.add_argument("--uncut", action="store_true", help="draw the curves after every epoch")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    os.environ |= {"nnUNet_n_proc_DA": "0", "OMP_NUM_THREADS": "1"}

    import torch
    from gpu_check import commit
    from nnunetv2.run.run_training import run_training

    from nnunet_mgcl.engine import curves
    from nnunet_mgcl.system.files import write_json
    from nnunet_mgcl.system.resources import offer_trainers
    from nnunet_mgcl.system.versions import installed_versions

    offer_trainers()
    clocks = Clocks()
    patches = [*watched(clocks), *([mock.patch.object(curves, "SECONDS_BETWEEN_DRAWINGS", 0)] if args.uncut else [])]
    for patch in patches:
        patch.start()
    began = time.process_time()
    run_training(args.dataset, args.configuration, "0", "MGCLTrainer", args.p, device=torch.device("cpu"))
    segment = clocks.seconds["segment"]
    segment["total"] = segment["waiting"] + segment["computing"]
    content = {
        "versions": installed_versions() | {"commit": commit()},
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "plan": args.p,
        "uncut": args.uncut,
        "seconds": time.process_time() - began,
        "phases": clocks.rows(),
    }
    write_json(args.out, content)
    for own in content["phases"]:
        shares = ", ".join(f"{part} {own[part]:.0%}" for part in PARTS if part in own)
        cost = f"{own['iterations']:5} x {own['ms an iteration']:7.1f} ms = {own['seconds']:6.1f} s"
        print(f"{own['phase']:16} {cost}  {shares}")


if __name__ == "__main__":
    main()
