"""Two processes in one fold would overwrite each other's files: the second is refused."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from nnunet_mgcl.system.run_lock import run_lock
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


def test_second_training_of_a_fold_is_refused_before_it_moves_anything(make_trainer, monkeypatch) -> None:
    fork, first = multiprocessing.get_context("fork"), make_trainer()
    refusals = fork.Queue()

    def second(fold) -> None:
        try:
            make_trainer(fold=fold).run_training()
        except SystemExit as refusal:
            refusals.put(str(refusal))
        except KeyboardInterrupt:
            refusals.put("trained")

    def start(trainer) -> None:
        if multiprocessing.parent_process() is None:
            trainer.fold_layout.phases.mkdir(parents=True)
            for fold in (0, 1):
                process = fork.Process(target=second, args=(fold,))
                process.start()
                seen.append(refusals.get(timeout=60))
                process.join()
        raise KeyboardInterrupt

    seen: list[str] = []
    monkeypatch.setattr(MGCLTrainer, "on_train_start", start)
    with pytest.raises(KeyboardInterrupt):
        first.run_training()
    assert "fold_0" in seen[0] and "another training" in seen[0]
    assert seen[1] == "trained"
    assert not list(first.fold_layout.root.glob("before_*"))


def test_workers_that_outlive_a_killed_training_do_not_keep_it_out(tmp_path) -> None:
    """nnU-Net's augmentation workers are forks, and do not notice that their parent was killed."""
    fork = multiprocessing.get_context("fork")
    ready = fork.Queue()

    def training() -> None:
        with run_lock(tmp_path / ".lock", tmp_path, "training"):
            worker = fork.Process(target=time.sleep, args=(60,))
            worker.start()
            ready.put(worker.pid)
            time.sleep(60)

    process = fork.Process(target=training)
    process.start()
    worker = ready.get(timeout=60)
    process.kill()
    process.join()
    try:
        os.kill(worker, 0)  # it lives
        entered = []
        with run_lock(tmp_path / ".lock", tmp_path, "training"):
            entered.append(True)
        assert entered
    finally:
        os.kill(worker, signal.SIGKILL)


def test_fold_is_free_after_a_training_that_ended_in_any_way(make_trainer, monkeypatch) -> None:
    def interrupted(_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MGCLTrainer, "on_train_start", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            make_trainer().run_training()
