"""What a training starts from: nothing, -pretrained_weights, a checkpoint (--c), or the phases of an earlier run."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint

from nnunet_mgcl.data.prepare import Prepared
from nnunet_mgcl.data.tss_table import TSSTable
from nnunet_mgcl.plan.config import Older, TSSConfig
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.system.run_lock import run_lock
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer
from nnunet_mgcl.training.results_folder import write_shared_plans


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

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [({"tss": False}, "there is no tss.csv"), ({"mgcl": {"tss": {"enabled": False}}}, "switched off in the plan")],
    )
    def test_decisions_are_logged(self, start, make_trainer, note, monkeypatch, arguments, reason) -> None:
        table = TSSTable({}) if "mgcl" in arguments else None
        monkeypatch.setattr(MGCLTrainer, "_prepare", lambda self: Prepared(self.config, table, [], {}))
        _, log = start(**arguments)
        assert "branches: DWI (channels [0]), FLAIR (channels [1]), PWI (channels [2])" in log
        assert f"no TSS head: {reason}" in log

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

    def test_weights_of_another_trainer_are_refused_by_nnunet(self, start, make_trainer, tmp_path, note) -> None:
        """It asks nobody before it loads them, so its own error is what a user sees."""
        trainer = make_trainer()
        trainer.initialize()
        torch.save({"network_weights": trainer.network.branches[0].state_dict()}, tmp_path / "stock.pth")
        with pytest.raises(AssertionError, match="do not seem to be compatible with your network"):
            start(pretrained=str(tmp_path / "stock.pth"))

    def test_checkpoint_goes_on_after_the_phases(self, start, make_trainer, note) -> None:
        first, _ = start()
        first.save_checkpoint(str(Path(first.output_folder) / "checkpoint_latest.pth"))
        second, log = start(continue_training=True)
        assert note.runs == 1
        assert second.current_epoch == 1
        assert "goes on from a checkpoint" in log

    def test_head_of_lost_encoders_is_forgotten_where_segment_goes_on(self, start, note) -> None:
        """As where only checkpoint_best is left of a finished training."""
        first, _ = start()
        first.context.state.mark_done("tss", "mrff")
        (first.fold_layout.phase("tss", "mrff")).mkdir(parents=True)
        first.save_checkpoint(str(Path(first.output_folder) / "checkpoint_best.pth"))
        second, log = start(continue_training=True)
        assert not second.context.state.is_done("tss", "mrff")
        assert not second.fold_layout.phase("tss").exists()
        assert "removed the head of an earlier run" in log

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
        return list(Path(trainer.output_folder).glob("before_*"))

    def test_new_training_moves_them_and_the_checkpoints_aside(self, start, make_trainer, note) -> None:
        """A stale checkpoint_final would make a killed new run look finished to --c."""
        trainer = make_trainer()
        self.leave_phases(trainer)
        for name in ("best", "final"):
            (trainer.fold_layout.root / f"checkpoint_{name}.pth").write_text(name)
        trainer.fold_layout.validation.mkdir()
        (trainer.fold_layout.validation / "case_0.nii.gz").touch()  # of another split: nnU-Net would count it in
        _, log = start(trainer)
        (aside,) = self.aside(trainer)
        assert (aside / "phases" / "something").exists()
        assert (aside / "validation" / "case_0.nii.gz").exists() and not trainer.fold_layout.validation.exists()
        assert {path.name for path in aside.glob("*.pth")} == {"checkpoint_best.pth", "checkpoint_final.pth"}
        assert not list(trainer.fold_layout.root.glob("*.pth"))
        assert not (trainer.fold_layout.phases / "something").exists()
        assert str(aside) in log

    def test_refused_training_moves_nothing(self, start, make_trainer, note, monkeypatch) -> None:
        def refuse(self):
            raise UserError("tss.csv", "nonsense", "sense", "mend it")

        monkeypatch.setattr(MGCLTrainer, "_prepare", refuse)
        trainer = make_trainer()
        self.leave_phases(trainer)
        with pytest.raises(UserError, match="nonsense"):
            start(trainer)
        assert (trainer.fold_layout.phases / "something").exists()

    def test_continued_training_without_a_checkpoint_goes_on_with_them(self, start, make_trainer, note) -> None:
        trainer = make_trainer(continue_training=True)
        self.leave_phases(trainer)
        start(trainer)
        assert note.runs == 1
        assert not self.aside(trainer)
        assert (trainer.fold_layout.phases / "something").exists()

    def test_leftovers_of_a_killed_run_are_removed(self, start, make_trainer, note) -> None:
        trainer = make_trainer(continue_training=True)
        self.leave_phases(trainer)
        for folder in (trainer.fold_layout.root, trainer.fold_layout.phases):
            (folder / ".123.part.checkpoint_latest.pth").touch()
        start(trainer)
        assert not list(trainer.fold_layout.root.rglob(".*.part.*"))
        assert (trainer.fold_layout.phases / "something").exists()


class TestOneRun:
    """Two processes in one fold would overwrite each other's files."""

    def test_second_training_of_a_fold_is_refused_before_it_moves_anything(self, make_trainer, monkeypatch) -> None:
        fork, first = multiprocessing.get_context("fork"), make_trainer()
        refusals = fork.Queue()

        def second(fold) -> None:
            try:
                make_trainer(fold=fold).run_training()
            except SystemExit as error:
                refusals.put(str(error))
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
        assert "another training" in seen[0] and "let it finish" in seen[0]
        assert seen[1] == "trained"
        assert not list(first.fold_layout.root.glob("before_*"))

    def test_workers_that_outlive_a_killed_training_do_not_keep_it_out(self, tmp_path) -> None:
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

    def test_fold_is_free_after_a_training_that_ended_in_any_way(self, make_trainer, monkeypatch) -> None:
        def interrupted(_) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(MGCLTrainer, "on_train_start", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                make_trainer().run_training()


class TestInputs:
    """A fold goes on with what it was begun with."""

    def with_pool(self, trainer, **cases):
        """The manifest of a preprocessed pool whose raw files have these hashes."""
        pool = trainer.dataset_layout.unlabelled("nnUNetPlans_2d")
        entries = {case: [{"name": f"{case}_0000.nii.gz", "sha256": sha}] for case, sha in cases.items()}
        write_json(pool / "manifest.json", {"modalities": {"DWI": {"plan": {}, "cases": entries}}})

    def checkpoint(self, trainer):
        trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_latest.pth"))

    def test_same_inputs_are_welcome(self, start, note) -> None:
        trainer, _ = start()
        self.with_pool(trainer)
        start(continue_training=True)
        assert note.runs == 2

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"mgcl": {"coarse": {"epochs": 3}}}, "plan: mgcl.coarse.epochs was 120, is 3"),
            ({"labels": "masks"}, "mgcl.lesion_labels"),
        ],
    )
    def test_another_plan_is_refused_also_where_plans_json_is_gone(self, start, note, change, named) -> None:
        trainer, _ = start()
        for name in ("plans.json", "dataset.json"):
            (Path(trainer.output_folder_base) / name).unlink()
        with pytest.raises(UserError, match=r"inputs\.json[\s\S]*--c") as raised:
            start(continue_training=True, **change)
        assert named in str(raised.value)

    def test_other_labels_are_refused(self, start, note) -> None:
        trainer, _ = start(labels={"labels": {"background": 0, "core": 1, "rim": 2}})
        (Path(trainer.output_folder_base) / "dataset.json").unlink()
        with pytest.raises(UserError, match=r"inputs\.json[\s\S]*labels\.core was 1, is 2"):
            start(continue_training=True, labels={"labels": {"background": 0, "core": 2, "rim": 1}})

    def test_another_image_or_mask_of_the_same_name_is_refused(self, start, note, monkeypatch) -> None:
        start()
        start(continue_training=True)
        monkeypatch.setattr("nnunet_mgcl.training.run_inputs._fingerprint", lambda _, case: case)
        with pytest.raises(UserError, match=r"training images and masks: case_0 was of an empty file, is case_0"):
            start(continue_training=True)
        assert note.runs == 2

    def test_what_an_earlier_version_did_not_note_is_not_held_against_a_fold(self, start, note) -> None:
        trainer, _ = start()
        noted = json.loads(trainer.fold_layout.inputs.read_text())
        del noted["labels"]
        write_json(trainer.fold_layout.inputs, noted)
        start(continue_training=True)
        assert note.runs == 2

    def test_refused_run_leaves_the_shared_plans(self, start, workspace, note) -> None:
        trainer, _ = start()
        path = Path(trainer.output_folder_base) / "plans.json"
        path.unlink()
        with pytest.raises(UserError):
            start(continue_training=True, mgcl={"coarse": {"epochs": 3}})
        assert not path.exists()

    def test_checkpointing_may_change(self, start, note) -> None:
        start()
        trainer, _ = start(continue_training=True, mgcl={"segment": {"checkpointing": True}})
        assert note.runs == 2
        assert trainer.mgcl_network.checkpointing

    def test_another_architecture_is_refused(self, start, plans, note) -> None:
        trainer, _ = start()
        (Path(trainer.output_folder_base) / "plans.json").unlink()
        plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 4, 4]
        with pytest.raises(UserError, match=r"architecture\.arch_kwargs\.features_per_stage was \[4, 8, 16\]"):
            start(continue_training=True)

    def test_another_split_is_refused_even_after_a_checkpoint(self, start, workspace, note) -> None:
        self.checkpoint(start()[0])
        splits = workspace / "preprocessed" / "Dataset901_Tiny" / "splits_final.json"
        splits.write_text(json.dumps(json.loads(splits.read_text())[::-1]))
        with pytest.raises(UserError, match="training cases: case_0 is gone"):
            start(continue_training=True)

    @pytest.mark.parametrize(
        ("cases", "named"),
        [
            ({"p": "1"}, "DWI.q is gone"),
            ({"p": "1", "q": "2", "r": "3"}, "DWI.r is new"),
            ({"p": "1", "q": "9"}, "DWI.q was"),
        ],
    )
    def test_another_pool_is_refused_while_phases_read_it(self, start, make_trainer, note, cases, named) -> None:
        trainer = make_trainer()
        self.with_pool(trainer, p="1", q="2")
        trainer, _ = start(trainer)
        self.with_pool(trainer, **cases)
        with pytest.raises(UserError, match="unlabelled pool") as raised:
            start(continue_training=True)
        assert named in str(raised.value)
        self.checkpoint(trainer)
        start(continue_training=True)  # the phases that read it are done

    def test_pool_is_nothing_to_a_trainer_without_pretraining(self, start, make_trainer, monkeypatch) -> None:
        monkeypatch.setattr(MGCLTrainer, "pretraining", ())
        trainer = make_trainer()
        self.with_pool(trainer, p="1")
        trainer, _ = start(trainer)
        self.with_pool(trainer, p="2")
        start(continue_training=True)

    def test_run_killed_before_its_first_checkpoint_does_not_forget_pretrained_weights(
        self, start, weights, note
    ) -> None:
        trainer, _ = start(pretrained=weights)
        with pytest.raises(UserError, match=r"pretrained weights[\s\S]*-pretrained_weights"):
            start(continue_training=True)
        self.checkpoint(trainer)
        start(continue_training=True)
        assert note.runs == 0


class TestSharedPlans:
    """All folds of a results folder share one plans.json."""

    def write_shared(self, trainer):
        write_shared_plans(trainer)

    def test_it_is_written_before_the_first_phase(self, make_trainer, start, monkeypatch) -> None:
        seen = []

        class Look(Note):
            def run(self, context) -> None:
                seen.append(json.loads((context.layout.root.parent / "plans.json").read_text()))

        monkeypatch.setattr(MGCLTrainer, "pretraining", (Look(),))
        trainer, _ = start()
        assert seen == [json.loads(json.dumps(trainer.plans_manager.plans))]

    def test_half_a_file_is_written_anew(self, start, make_trainer, note) -> None:
        trainer = make_trainer()
        self.write_shared(trainer)
        path = Path(trainer.output_folder_base) / "plans.json"
        whole = path.read_text()
        path.write_text(whole[:100])
        _, log = start(trainer)
        assert path.read_text() == whole
        assert "half a file" in log

    def test_another_fold_of_the_same_plan_is_welcome(self, start, make_trainer, note) -> None:
        self.write_shared(make_trainer(fold=0))
        start(fold=1)

    @pytest.mark.parametrize("continued", [{"fold": 1}, {"continue_training": True}], ids=["other fold", "--c"])
    def test_training_drops_a_calibration_and_says_so(self, start, note, continued) -> None:
        first, log = start()
        path = Path(first.output_folder_base) / "plans.json"
        assert "calibration" not in log
        path.write_text(json.dumps(json.loads(path.read_text()) | {"mgcl_calibration": {"method": "platt"}}))
        _, log = start(**continued)
        assert note.runs == 2
        assert "mgcl_calibration" not in json.loads(path.read_text())
        assert "calibration in plans.json is removed; run mgcl evaluate" in log

    def test_calibration_of_the_model_that_a_plan_was_copied_from_is_none_of_this_one(self, start, plans, note) -> None:
        plans["mgcl_calibration"] = {"method": "platt"}
        trainer, _ = start()
        assert "mgcl_calibration" not in trainer.plans_manager.plans

    @pytest.mark.parametrize("again", [{"fold": 1}, {"continue_training": True}], ids=["other fold", "--c"])
    def test_folds_of_an_older_version_are_continued_with_what_it_did(self, start, note, again, monkeypatch) -> None:
        """`head` stands for any key that a version did not know."""
        trainer, _ = start(mgcl={"tss": {"grid": 2, "head": "mrff"}})
        plans = Path(trainer.output_folder_base) / "plans.json"
        for path, place in ((plans, ("configurations", "2d")), (trainer.fold_layout.inputs, ("plan",))):
            content = json.loads(path.read_text())
            block = content
            for key in place:
                block = block[key]
            del block["mgcl"]["tss"]["head"]
            write_json(path, content)
        head = TSSConfig.model_fields["head"]
        monkeypatch.setattr(head, "metadata", [Older("mlp") if isinstance(m, Older) else m for m in head.metadata])
        with pytest.raises(UserError, match=r"mgcl\.tss\.head was mlp, is mrff"):
            start(mgcl={"tss": {"grid": 2, "head": "mrff"}}, **again)
        trainer, _ = start(mgcl={"tss": {"grid": 2}}, **again)
        assert trainer.config.tss.head == "mlp"
        assert note.runs == 2

    @pytest.mark.parametrize("change", [{"mgcl": {"coarse": {"epochs": 3}}}, {"labels": "masks"}, {"tss": False}])
    def test_fold_with_another_block_is_refused(self, start, make_trainer, note, change) -> None:
        self.write_shared(make_trainer(fold=0))
        with pytest.raises(UserError, match=r"another configuration \(mgcl\."):
            start(fold=1, **change)

    def test_fold_with_another_batch_size_is_refused(self, start, make_trainer, plans, note) -> None:
        self.write_shared(make_trainer(fold=0))
        plans["configurations"]["2d"]["batch_size"] = 5
        with pytest.raises(UserError, match="batch_size was 12, is 5"):
            start(fold=1)

    def test_fold_with_other_intensities_is_refused_and_replaces_nothing(
        self, start, make_trainer, plans, note
    ) -> None:
        """The earlier folds would be predicted with them: CT is normalised by these numbers."""
        trainer = make_trainer(fold=0)
        self.write_shared(trainer)
        before = (Path(trainer.output_folder_base) / "plans.json").read_text()
        plans["foreground_intensity_properties_per_channel"]["1"]["mean"] = 99.0
        with pytest.raises(UserError, match=r"channel\.1\.mean was 10\.0, is 99\.0"):
            start(fold=1)
        assert (Path(trainer.output_folder_base) / "plans.json").read_text() == before

    def test_fold_with_other_labels_is_refused(self, start, make_trainer, note) -> None:
        self.write_shared(make_trainer(fold=0, labels={"labels": {"background": 0, "core": 1, "rim": 2}}))
        with pytest.raises(UserError, match="folds trained with other labels"):
            start(fold=1, labels={"labels": {"background": 0, "rim": 1, "core": 2}})

    @pytest.mark.parametrize("validation_only", [False, True], ids=["--c", "--val"])
    def test_checkpoint_of_another_network_is_refused_with_the_difference(
        self, start, make_trainer, plans, note, validation_only
    ) -> None:
        trainer, _ = start()
        trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
        plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 4, 4]
        with pytest.raises(SystemExit, match=r"plans\.json[\s\S]*features_per_stage was \[4, 8, 16\]"):
            maybe_load_checkpoint(
                make_trainer(continue_training=not validation_only), not validation_only, validation_only
            )
