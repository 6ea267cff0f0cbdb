"""SIGKILL at any moment: --c goes on there and ends with the very model of an uninterrupted run.

Every run is a process of its own (a fork, so that nothing is imported again), of a cascade so small that it takes
seconds. A hook kills it at a chosen point; `make test-slow` also kills at random moments.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint

from nnunet_mgcl.data.cases import modality_dataset
from nnunet_mgcl.data.cases.modality_dataset import read_pseudo_label
from nnunet_mgcl.engine.state import PhaseState
from nnunet_mgcl.engine.training_loop import _ModuleTrainer
from nnunet_mgcl.plan.plans import deep_merge
from nnunet_mgcl.pretraining import pseudo_label
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer
from nnunet_mgcl.tss.phase import TSS
from tests.contract.hooks import always, no_room_from, of_phase, on_call, on_write

BLOCK = {
    "modalities": {"DWI": [0], "others": [1, 2]},
    **{phase: {"epochs": 2, "batch_size": 12} for phase in ("seed", "self_train")},
    "pseudo_label": {"mirroring": False, "confidence": 0.0},
    **{phase: {"epochs": 2, "batch_size": 12, "embedding_dim": 8} for phase in ("coarse", "fine")},
    "segment": {"epochs": 3, "iterations": 2, "val_iterations": 1},
    "tss": {"epochs": 2, "batch_size": 2, "grid": 2, "heads": 2},
}
BLOCK["fine"]["patch_size"] = 8
PHASES = ("seed", "self_train", "coarse", "fine", "tss")


def second_epoch(phase: str) -> Callable[[], None]:
    return lambda: on_call(_ModuleTrainer, "_iterate", of_phase(phase, 1))


POINTS: dict[str, Callable[[], None]] = {
    "second epoch of the search for seed's length": second_epoch("seed_length"),
    "second epoch of seed": second_epoch("seed"),
    "checkpoint of seed, half written": lambda: on_write("/seed/", "checkpoint_latest.pth"),
    "pseudo-label, half written": lambda: on_call(modality_dataset.blosc2, "asarray", always, 2, after=True),
    "pseudo-label written, its confidence not": lambda: on_call(pseudo_label, "add_note", always, 2),
    "second epoch of self_train": second_epoch("self_train"),
    "between two phases, before the first is marked": lambda: on_call(
        PhaseState, "mark_done", lambda _, phase, *__: phase == "pseudo_label_2"
    ),
    "second epoch of coarse": second_epoch("coarse"),
    "result of coarse, half written": lambda: on_write("/coarse/others/", "network.pth"),
    "second epoch of fine": second_epoch("fine"),
    "between two phases, after the first is marked": lambda: on_call(
        PhaseState, "mark_done", lambda _, phase, *__: phase == "fine", 2, after=True
    ),
    "first epoch of segment": lambda: on_call(MGCLTrainer, "train_step", always),
    "checkpoint of segment, half written": lambda: on_write("fold_0", "checkpoint_latest.pth", 2),
    "last epoch of segment": lambda: on_call(MGCLTrainer, "train_step", always, 4),
    "second epoch of tss": second_epoch("tss"),
    "in on_train_end, head trained": lambda: on_call(TSS, "run", always, after=True),
    "in on_train_end, final checkpoint half written": lambda: on_write("fold_0", "checkpoint_final.pth"),
    "in on_train_end, latest not yet removed": lambda: on_call(
        os, "remove", lambda path: str(path).endswith("fold_0/checkpoint_latest.pth")
    ),
}
"""Where one run is killed, again and again in this order, and how that is brought about in its process."""


@dataclass
class Run:
    """Starts trainings of one dataset in processes of their own."""

    plans: dict[str, Any]
    dataset_json: dict[str, Any]
    folder: Path
    logs: list[str] = field(default_factory=list)

    @property
    def fold(self) -> Path:
        return self.folder / "results" / "Dataset901_Tiny" / "MGCLTrainer__nnUNetPlans__2d" / "fold_0"

    def start(self, hook: Callable[[], None] | None = None, *, go_on: bool = False) -> Any:
        log = self.folder / f"{len(self.logs)}.log"
        process = multiprocessing.get_context("fork").Process(target=self._train, args=(log, hook, go_on))
        process.start()
        self.logs.append(str(log))
        return process

    def finish(self, hook: Callable[[], None] | None = None, *, go_on: bool = False) -> tuple[int | None, str]:
        """Exit status and what was printed."""
        process = self.start(hook, go_on=go_on)
        process.join(120)
        assert not process.is_alive(), Path(self.logs[-1]).read_text()[-2000:]
        return process.exitcode, Path(self.logs[-1]).read_text()

    def _train(self, log: Path, hook: Callable[[], None] | None, go_on: bool) -> None:
        descriptor = os.open(log, os.O_CREAT | os.O_WRONLY)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
        os.environ["nnUNet_results"] = str(self.folder / "results")
        if hook:
            hook()
        plans = deepcopy(self.plans) | {"continue_training": go_on}
        trainer = MGCLTrainer(plans, "2d", 0, deepcopy(self.dataset_json), torch.device("cpu"))
        trainer.save_every = 1
        maybe_load_checkpoint(trainer, go_on, False)
        trainer.run_training()

    def done(self) -> list[str]:
        state = self.fold / "phases" / "state.json"
        return json.loads(state.read_text())["done"] if state.exists() else []

    def content(self) -> dict[str, Any]:
        """All that the run has learned: every weight and every pseudo-label."""
        found: dict[str, Any] = {}
        phases = self.fold / "phases"
        for path in sorted(phases.rglob("network.pth")):
            found[str(path.relative_to(phases))] = torch.load(path, weights_only=True)
        for path in sorted(phases.glob("pseudo_label_*/*/*.b2nd")):
            mask, locations = read_pseudo_label(path.parent, path.stem)
            voxels = {str(key): torch.from_numpy(np.asarray(value)) for key, value in locations.items()}
            found[str(path.relative_to(phases))] = voxels | {"mask": torch.from_numpy(np.asarray(mask[:]))}
        final = torch.load(self.fold / "checkpoint_final.pth", weights_only=False)
        assert bool(final["network_weights"]["tss.trained"])
        return found | {"checkpoint_final": final["network_weights"]}

    def part_under_way(self) -> str:
        """The phase that the last process was in, by the last line that names one."""
        lines = re.findall(rf"MGCL: ({'|'.join(PHASES)})\b|Epoch \d+", Path(self.logs[-1]).read_text())
        return (lines[-1] or "segment") if lines else "between"


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for part, tensors in expected.items():
        assert tensors.keys() == found[part].keys(), part
        for name, value in tensors.items():
            assert torch.equal(value, found[part][name]), f"{part}: {name}"


@pytest.fixture
def make_run(real_dataset, no_pictures, plans, masks_json, tmp_path) -> Callable[..., Run]:
    for channel in (1, 2):  # no pool: these contrast the labelled cases, whose true masks hold both classes
        for path in (real_dataset.raw / "imagesUn").glob(f"*_{channel:04}.nii.gz"):
            path.unlink()
    del masks_json["mgcl"]
    real_dataset.dataset_json.write_text(json.dumps(masks_json))
    (real_dataset.raw / "dataset.json").write_text(json.dumps(masks_json))
    plans["configurations"]["2d"]["batch_size"] = 3

    def make(name: str, block: dict[str, Any] | None = None) -> Run:
        own = deepcopy(plans)
        own["configurations"]["2d"]["mgcl"] = deep_merge(BLOCK, block or {})
        (tmp_path / name).mkdir()
        return Run(own, masks_json, tmp_path / name)

    return make


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, Any]:
    """What a run without a kill has learned; filled by the first test (its paths are a test's own)."""
    return {}


@pytest.fixture
def expected(make_run, uninterrupted) -> dict[str, Any]:
    if not uninterrupted:
        run = make_run("whole")
        status, log = run.finish()
        assert status == 0, log[-3000:]
        uninterrupted |= run.content()
        kinds = {part.split("/")[0] for part in uninterrupted}
        assert kinds == {*PHASES, "pseudo_label_1", "pseudo_label_2", "checkpoint_final"}
    return uninterrupted


def trained_parts(log: str) -> set[str]:
    """The parts of phases that a run trained for an epoch at least, or predicted."""
    parts = re.findall(r"MGCL: (\w+) (\S+): loss ", log)
    return {f"{phase}/{branch}" for phase, branch in parts}


def test_run_killed_at_every_point_goes_on_where_it_was_and_ends_with_the_same_model(make_run, expected) -> None:
    run, done = make_run("killed"), []
    for number, (point, hook) in enumerate(POINTS.items()):
        status, log = run.finish(hook, go_on=number > 0)
        assert status == -signal.SIGKILL, (point, log[-3000:])
        assert not trained_parts(log) & set(done), point
        done = run.done()
    status, log = run.finish(go_on=True)
    assert status == 0, log[-3000:]
    assert not trained_parts(log)
    assert_same(run.content(), expected)
    assert not (run.fold / "checkpoint_latest.pth").exists()
    assert not list(run.fold.rglob(".*.part.*"))


FULL = {
    "seed": lambda: no_room_from(_ModuleTrainer, "_iterate", of_phase("seed", 1)),
    "segment": lambda: no_room_from(MGCLTrainer, "train_step", lambda trainer, *_: trainer.current_epoch == 1),
}


def test_full_disk_ends_in_one_message_with_the_last_checkpoint_intact(make_run, expected) -> None:
    run, begins_with = make_run("full"), {"seed": "MGCL: seed", "segment": r"seed \w+: epochs 2-\d+"}
    for phase, hook in FULL.items():
        status, log = run.finish(hook, go_on=phase != "seed")
        assert status == 1 and "Traceback" not in log
        assert re.search(begins_with[phase], log)
        assert log.count("nnunet_mgcl: ") == 1 and "cannot be written (File too large)" in log
        assert "checkpoint_" in log.split("nnunet_mgcl: ")[1].splitlines()[0]
        assert not list(run.fold.rglob(".*.part.*"))
    status, log = run.finish(go_on=True)
    assert status == 0, log[-3000:]
    assert "goes on from a checkpoint" in log
    assert_same(run.content(), expected)


@pytest.mark.slow
def test_run_killed_at_forty_random_moments_ends_with_the_same_model(make_run) -> None:
    longer = {phase: {"epochs": 12} for phase in PHASES} | {"segment": {"epochs": 12}}
    whole, run = make_run("whole", longer), make_run("killed", longer)
    assert whole.finish()[0] == 0
    expected, moments, kills, go_on = whole.content(), random.Random(0), [], False
    # Random moments may miss a short phase: then it takes a few more of them.
    while len(kills) < 40 or ({*PHASES, "segment"} - set(kills) and len(kills) < 120):
        process, delay = run.start(go_on=go_on), moments.uniform(0.2, 2.5)
        process.join(delay)
        if process.is_alive():
            process.kill()
            process.join()
            kills.append(run.part_under_way())
            go_on = True
            continue
        assert process.exitcode == 0, (kills, Path(run.logs[-1]).read_text()[-3000:])
        assert_same(run.content(), expected)
        go_on = False  # finished: once more from the start, with the old run moved aside
    print(Counter(kills))
    status, log = run.finish(go_on=go_on)
    assert status == 0, (kills, log[-3000:])
    assert_same(run.content(), expected)
    assert {*PHASES, "segment"} <= set(kills)
