"""torchrun on the CPU (gloo), where two commands with two processes each stand for two machines."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.run.run_training import find_free_network_port

import nnunet_mgcl
from nnunet_mgcl.plan.plans import deep_merge
from nnunet_mgcl.system.resources import trainers_dir
from tests.contract.models import TINY

BLOCK = {phase: {"epochs": 2, "batch_size": 3} for phase in ("seed", "self_train", "coarse", "fine")}
BLOCK |= {"segment": {"epochs": 2}}
BLOCK["coarse"]["epochs"] = 4
PATIENCE = 600
"""Seconds that a command may take; beside other work one takes a minute or two."""


class Cluster:
    """Starts commands on one dataset, as machines that share its folders."""

    def __init__(self, folder: Path, dataset: str) -> None:
        self.folder, self.dataset, self.started = folder, dataset, 0
        self.logs: list[Path] = []

    @property
    def fold(self) -> Path:
        return self.folder / "results" / self.dataset / "MGCLTrainer__nnUNetPlans__2d" / "fold_0"

    def start(self, *command: object, **variables: str) -> subprocess.Popen[bytes]:
        """nnUNet_extTrainer is not set: `mgcl env` has not been run."""
        environment = {name: value for name, value in os.environ.items() if name != "nnUNet_extTrainer"}
        environment |= {
            "OMP_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE", "PYTHONPATH": str(Path(nnunet_mgcl.__file__).parents[1]),
            "nnUNet_results": str(self.folder / "results"), "nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1",
        }  # fmt: skip
        self.logs.append(self.folder / f"{len(self.logs)}.log")
        words = [sys.executable, *map(str, command)]
        with self.logs[-1].open("w") as log:
            return subprocess.Popen(words, env=environment | variables, stdout=log, stderr=subprocess.STDOUT)

    def torchrun(self, processes: int, *options: object, arguments: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        words = ("-m", "torch.distributed.run", "--nproc_per_node", processes, *options)
        training = ("-m", "nnunet_mgcl.training.distributed", "901", "2d", "0", "-device", "cpu", *arguments)
        return self.start(*words, *training)

    def machines(self, *arguments: str) -> list[subprocess.Popen[bytes]]:
        """Two of two processes each."""
        together = ("--nnodes", 2, "--master_addr", "127.0.0.1", "--master_port", find_free_network_port())
        return [self.torchrun(2, *together, "--node_rank", number, arguments=arguments) for number in (0, 1)]

    def wait_for(self, phase: str) -> None:
        """Until an epoch of a phase is finished and noted."""
        state, deadline = self.fold / "phases" / "state.json", time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            current = json.loads(state.read_text())["current"] if state.exists() else None
            if current and current["part"].startswith(phase):
                return
            time.sleep(0.05)
        raise AssertionError(f"{phase} was never seen\n{self.said()}")

    def said(self) -> str:
        return "\n".join(log.read_text()[-3000:] for log in self.logs[-2:])

    def learned(self) -> dict[str, torch.Tensor]:
        """All weights of the finished model, and of the phases."""
        phases = self.fold / "phases"
        found = {str(path.relative_to(phases)): torch.load(path) for path in sorted(phases.rglob("network.pth"))}
        final = torch.load(self.fold / "checkpoint_final.pth", weights_only=False)
        assert final["current_epoch"] == 2 and bool(final["network_weights"]["tss.trained"])
        assert (self.fold / "validation" / "tss.csv").is_file()
        assert not list(self.fold.glob("before_*"))
        found["final"] = final["network_weights"]
        return {f"{part}: {name}": value for part, weights in found.items() for name, value in weights.items()}

    def losses(self) -> dict[str, list[float]]:
        """Of all epochs of all phases."""
        curves = json.loads((self.fold / "phases" / "curves.json").read_text())
        return {f"{phase} {name}": losses for phase in curves for name, losses in curves[phase]["curves"].items()}


def workers(torchrun: subprocess.Popen[bytes]) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(torchrun.pid)], capture_output=True, text=True, check=True)
    return [int(line) for line in found.stdout.split()]


def assert_goes_on(cluster: Cluster, expected: dict[str, Any]) -> None:
    """The same but for rounding; bit for bit where nothing was interrupted.

    docs/gpus.md has the likely reason: a phase that goes on has a new DDP wrapper, which first lays gradients out in
    another order, and gloo adds up more than two numbers in an order that depends on their place in a message.
    """
    learned, losses = cluster.learned(), cluster.losses()
    assert learned.keys() == expected["learned"].keys() and losses.keys() == expected["losses"].keys()
    assert_same(
        *({k: v for k, v in part.items() if k[:4] in ("seed", "self")} for part in (learned, expected["learned"]))
    )
    for name, values in expected["losses"].items():
        assert losses[name] == pytest.approx(values, rel=1e-3), name


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []


@contextmanager
def ended(commands: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Leaves nothing running, whatever comes."""
    try:
        yield
    finally:
        for command in commands:
            if command.poll() is None:
                command.terminate()  # torchrun ends its workers
                command.wait(60)


@pytest.fixture
def make_cluster(real_dataset, plans, tmp_path) -> Callable[[str], Cluster]:
    splits = [{"train": [f"case_{n}" for n in (0, 1, 2, 3, 4)], "val": ["case_5"]}]
    real_dataset.splits.write_text(json.dumps(splits))
    (real_dataset.raw / "labelsTr").rename(real_dataset.preprocessed / "gt_segmentations")
    plans["configurations"]["2d"] |= {"mgcl": deep_merge(TINY, BLOCK), "batch_size": 4}
    real_dataset.plans("nnUNetPlans").write_text(json.dumps(plans))

    def make(name: str) -> Cluster:
        (tmp_path / name).mkdir()
        return Cluster(tmp_path / name, real_dataset.name)

    return make


@pytest.fixture(scope="module")
def of_two_machines() -> dict[str, Any]:
    """What an uninterrupted run of two machines has learned; filled by the first test."""
    return {}


@pytest.fixture
def expected(make_cluster, of_two_machines) -> dict[str, Any]:
    if not of_two_machines:
        cluster = make_cluster("two")
        with ended(machines := cluster.machines()):
            assert [machine.wait(PATIENCE) for machine in machines] == [0, 0], cluster.said()
        of_two_machines |= {"learned": cluster.learned(), "losses": cluster.losses()}
        of_two_machines["said"] = [log.read_text() for log in cluster.logs]
        of_two_machines["logs"] = len(list(cluster.fold.glob("training_log_*.txt")))
    return of_two_machines


@pytest.mark.slow
def test_two_machines_are_one_with_as_many_processes(make_cluster, expected) -> None:
    """Bit for bit, as those of torchrun on one machine and as those that nnU-Net itself starts."""
    cluster = make_cluster("one")
    with ended([machine := cluster.torchrun(4, "--master_port", find_free_network_port())]):
        assert machine.wait(PATIENCE) == 0, cluster.said()
    assert_same(cluster.learned(), expected["learned"])

    cluster = make_cluster("spawned")
    file = Path(__file__).with_name("spawned_ranks.py")
    spawned = cluster.start(file, cluster.folder / "meeting", nnUNet_extTrainer=str(trainers_dir()))
    with ended([spawned]):
        assert spawned.wait(PATIENCE) == 0, cluster.said()
    assert_same(cluster.learned(), expected["learned"])

    first, second = expected["said"]
    assert "MGCL: coarse" in first and expected["logs"] == 1
    assert not re.search("MGCL|Epoch|predicting|local rank", second), second


@pytest.mark.slow
def test_run_goes_on_once_a_killed_machine_is_back(make_cluster, expected) -> None:
    cluster = make_cluster("killed")
    with ended(machines := cluster.machines()):
        cluster.wait_for("coarse")
        for process in (machines[0].pid, *workers(machines[0])):  # the one that writes, and by which they meet
            os.kill(process, signal.SIGKILL)
        assert machines[1].wait(PATIENCE) != 0
    done = json.loads((cluster.fold / "phases" / "state.json").read_text())["done"]
    assert "seed/DWI" in done and "fine/DWI" not in done
    with ended(machines := cluster.machines("--c")):
        assert [machine.wait(PATIENCE) for machine in machines] == [0, 0], cluster.said()
    assert not re.search("MGCL: (seed|self_train) .*: loss", cluster.logs[-2].read_text())
    assert_goes_on(cluster, expected)


@pytest.mark.slow
def test_torchrun_starts_a_killed_process_again_and_it_goes_on(make_cluster, expected) -> None:
    cluster = make_cluster("restarted")
    with ended([machine := cluster.torchrun(4, "--max_restarts", 1, "--master_port", find_free_network_port())]):
        cluster.wait_for("coarse")
        os.kill(workers(machine)[1], signal.SIGKILL)
        assert machine.wait(PATIENCE) == 0, cluster.said()
    said = cluster.logs[-1].read_text()
    assert said.count("MGCL: branches: ") == 2
    assert not re.search("MGCL: (seed|self_train) .*: loss", said.rpartition("MGCL: branches: ")[2])
    assert_goes_on(cluster, expected)
