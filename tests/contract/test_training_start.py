"""What a training starts from: nothing, -pretrained_weights, a checkpoint (--c), or the phases of an earlier run."""

from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.data.prepare import Prepared
from nnunet_mgcl.data.tss_table import TSSTable
from nnunet_mgcl.engine.state import PhaseState
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


@pytest.mark.parametrize("initialised", [False, True])
def test_fresh_training_runs_the_phases(start, make_trainer, note, initialised) -> None:
    """A program may call `initialize` itself: those are no pretrained weights."""
    trainer = make_trainer()
    if initialised:
        trainer.initialize()
    _, log = start(trainer)
    assert note.runs == 1
    assert "segment DWI: starts from He initialisation" in log


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [({"tss": False}, "there is no tss.csv"), ({"mgcl": {"tss": {"enabled": False}}}, "switched off in the plan")],
)
def test_decisions_are_logged(start, note, monkeypatch, arguments, reason) -> None:
    table = TSSTable({}) if "mgcl" in arguments else None
    monkeypatch.setattr(MGCLTrainer, "_prepare", lambda self: Prepared(self.config, table, [], {}))
    _, log = start(**arguments)
    assert "branches: DWI (channels [0]), FLAIR (channels [1]), PWI (channels [2])" in log
    assert f"no TSS head: {reason}" in log


def test_pretrained_weights_start_at_segment_with_a_head_that_counts_as_untrained(start, weights, note) -> None:
    """Until phase `tss` it does not know the encoders that `segment` is about to change."""
    trainer, log = start(pretrained=weights)
    assert note.runs == 0
    assert "starts at segment, with the weights of -pretrained_weights" in log
    saved = torch.load(weights, weights_only=False)["network_weights"]
    moved = [name for name in saved if not name.startswith("tss.") and ".seg_layers." not in name]
    assert all(torch.equal(trainer.network.state_dict()[name], saved[name]) for name in moved)
    assert not bool(trainer.mgcl_network.tss.trained)


def test_checkpoint_goes_on_after_the_phases_and_without_the_head_of_lost_encoders(start, note) -> None:
    """As where only checkpoint_best is left of a finished training."""
    first, _ = start()
    first.context.state.mark_done("tss", "mrff")
    first.fold_layout.phase("tss", "mrff").mkdir(parents=True)
    first.save_checkpoint(str(first.fold_layout.root / "checkpoint_best.pth"))
    second, log = start(continue_training=True)
    assert note.runs == 1 and second.current_epoch == 1
    assert "goes on from a checkpoint" in log and "removed the head of an earlier run" in log
    assert not second.context.state.is_done("tss", "mrff")
    assert not second.fold_layout.phase("tss").exists()


def test_finished_head_stays_trained_when_a_finished_training_is_continued(start, note) -> None:
    first, _ = start()
    first.mgcl_network.tss.trained.fill_(True)
    first.save_checkpoint(str(first.fold_layout.root / "checkpoint_final.pth"))
    second, _ = start(continue_training=True)
    assert bool(second.mgcl_network.tss.trained)


def with_files(trainer, *names):
    """Files that an earlier run has left in the fold."""
    for name in names:
        path = trainer.fold_layout.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return trainer


def left(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_new_training_moves_an_earlier_run_aside(start, make_trainer, note) -> None:
    """To --c a stale checkpoint_final would look like a finished run; nnU-Net would count stale predictions in."""
    old = ("phases/old", "checkpoint_best.pth", "checkpoint_final.pth", "validation/case_0.nii.gz")
    trainer, log = start(with_files(make_trainer(), *old))
    (aside,) = trainer.fold_layout.root.glob("before_*")
    assert left(aside) >= set(old)
    assert not left(trainer.fold_layout.root) & set(old)
    assert str(aside) in log


def test_refused_training_moves_nothing(start, make_trainer, note, monkeypatch) -> None:
    def refuse(self):
        raise UserError("tss.csv", "nonsense", "sense", "mend it")

    monkeypatch.setattr(MGCLTrainer, "_prepare", refuse)
    trainer = with_files(make_trainer(), "phases/old")
    with pytest.raises(UserError, match="nonsense"):
        start(trainer)
    assert "phases/old" in left(trainer.fold_layout.root)


def test_continued_training_without_a_checkpoint_goes_on_with_what_is_whole(start, make_trainer, note) -> None:
    parts = (".1.part.checkpoint_latest.pth", "phases/.1.part.checkpoint_latest.pth")
    trainer = with_files(make_trainer(continue_training=True), "phases/old", *parts)
    PhaseState(trainer.fold_layout.state).mark_done("tss", "mrff")
    start(trainer)
    assert note.runs == 1
    assert not trainer.context.state.is_done("tss", "mrff"), "its encoders are lost with the checkpoint"
    assert not list(trainer.fold_layout.root.glob("before_*"))
    assert "phases/old" in left(trainer.fold_layout.root) and not left(trainer.fold_layout.root) & set(parts)
