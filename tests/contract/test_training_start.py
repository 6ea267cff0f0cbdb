"""What a training starts from: nothing, -pretrained_weights, a checkpoint (--c), or the phases of an earlier run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint

from nnunet_mgcl.errors import UserError
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


class Note:
    """A phase that only notes that it ran."""

    name = "note"

    def __init__(self) -> None:
        self.runs = 0

    def run(self, context) -> None:
        self.runs += 1


@pytest.fixture
def note(monkeypatch):
    note = Note()
    monkeypatch.setattr(MGCLTrainer, "pretraining", (note,))
    return note


@pytest.fixture
def start(without_data, make_trainer, capsys):
    """Starts a training as nnU-Net's `run_training` would; returns the trainer and what it logged."""

    def start(trainer=None, pretrained=None, **arguments):
        trainer = trainer or make_trainer(**arguments)
        maybe_load_checkpoint(trainer, trainer.continue_training, False, pretrained)
        capsys.readouterr()
        trainer.on_train_start()
        return trainer, capsys.readouterr().out

    return start


@pytest.fixture
def weights(make_trainer, tmp_path):
    """A finished model's checkpoint, whose head is trained."""
    trainer = make_trainer(fold=1)
    trainer.initialize()
    trainer.mgcl_network.tss.trained.fill_(True)
    trainer.save_checkpoint(str(tmp_path / "pretrained.pth"))
    return str(tmp_path / "pretrained.pth")


class TestWhatRuns:
    def test_fresh_training_runs_the_phases(self, start, note) -> None:
        _, log = start()
        assert note.runs == 1
        assert "segment DWI: starts from He initialisation" in log

    def test_programmatic_initialize_alone_is_no_pretraining(self, start, make_trainer, note) -> None:
        trainer = make_trainer()
        trainer.initialize()
        assert not trainer._weights_were_set()
        start(trainer)
        assert note.runs == 1

    def test_pretrained_weights_start_at_segment(self, start, weights, note) -> None:
        trainer, log = start(pretrained=weights)
        assert note.runs == 0
        assert "starts at segment, with the weights of -pretrained_weights" in log
        saved = torch.load(weights, weights_only=False)["network_weights"]
        moved = [name for name in saved if not name.startswith("tss.") and ".seg_layers." not in name]
        assert all(torch.equal(trainer.network.state_dict()[name], saved[name]) for name in moved)

    def test_head_of_pretrained_weights_counts_as_untrained(self, start, weights, note) -> None:
        """Until phase `tss` it does not know the encoders that `segment` is about to change."""
        trainer, _ = start(pretrained=weights)
        assert not bool(trainer.mgcl_network.tss.trained)

    def test_checkpoint_goes_on_after_the_phases(self, start, make_trainer, note) -> None:
        first, _ = start()
        first.save_checkpoint(str(Path(first.output_folder) / "checkpoint_latest.pth"))
        second, log = start(continue_training=True)
        assert note.runs == 1
        assert second.current_epoch == 1
        assert "goes on from a checkpoint" in log

    def test_finished_head_stays_trained_when_a_finished_training_is_continued(self, start, note) -> None:
        first, _ = start()
        first.mgcl_network.tss.trained.fill_(True)
        first.save_checkpoint(str(Path(first.output_folder) / "checkpoint_final.pth"))
        second, _ = start(continue_training=True)
        assert bool(second.mgcl_network.tss.trained)


class TestEarlierPhases:
    def leave_phases(self, trainer):
        trainer.fold_layout.phases.mkdir(parents=True)
        (trainer.fold_layout.phases / "something").touch()

    def aside(self, trainer):
        return list(Path(trainer.output_folder).glob("phases_before_*"))

    def test_new_training_moves_them_aside(self, start, make_trainer, note) -> None:
        trainer = make_trainer()
        self.leave_phases(trainer)
        _, log = start(trainer)
        (aside,) = self.aside(trainer)
        assert (aside / "something").exists()
        assert not trainer.fold_layout.phases.exists()
        assert str(aside) in log

    def test_continued_training_without_a_checkpoint_goes_on_with_them(self, start, make_trainer, note) -> None:
        trainer = make_trainer(continue_training=True)
        self.leave_phases(trainer)
        start(trainer)
        assert note.runs == 1
        assert not self.aside(trainer)
        assert (trainer.fold_layout.phases / "something").exists()

    def test_phases_of_another_configuration_are_refused(self, start, make_trainer, note) -> None:
        trainer = make_trainer()
        start(trainer)
        trainer.context.state.mark_done("seed", "DWI")
        with pytest.raises(UserError, match="another mgcl configuration"):
            start(continue_training=True, mgcl={"coarse": {"epochs": 3}})


class TestSharedPlans:
    """All folds of a results folder share one plans.json."""

    def write_shared(self, trainer):
        path = Path(trainer.output_folder_base) / "plans.json"
        path.write_text(json.dumps(trainer.plans_manager.plans, indent=4))

    def test_another_fold_of_the_same_plan_is_welcome(self, start, make_trainer, note) -> None:
        self.write_shared(make_trainer(fold=0))
        start(fold=1)

    @pytest.mark.parametrize("change", [{"mgcl": {"coarse": {"epochs": 3}}}, {"labels": "masks"}, {"tss": False}])
    def test_fold_with_another_block_is_refused(self, start, make_trainer, note, change) -> None:
        self.write_shared(make_trainer(fold=0))
        with pytest.raises(UserError, match=r"keys that differ: mgcl"):
            start(fold=1, **change)

    def test_fold_with_another_batch_size_is_refused(self, start, make_trainer, plans, note) -> None:
        self.write_shared(make_trainer(fold=0))
        plans["configurations"]["2d"]["batch_size"] = 5
        with pytest.raises(UserError, match="batch_size"):
            start(fold=1)
