"""A fold goes on with what it was begun with; all folds of a results folder share one plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nnunetv2.run.run_training import maybe_load_checkpoint

from nnunet_mgcl.data.pool.manifest import Manifest
from nnunet_mgcl.plan.config import Older, TSSConfig
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer
from nnunet_mgcl.training.results_folder import write_shared_plans

CORE_RIM, RIM_CORE = ({"labels": {"background": 0, "core": n, "rim": 3 - n}} for n in (1, 2))
EPOCHS = {"mgcl": {"coarse": {"epochs": 3}}}
AGAIN = pytest.mark.parametrize("again", [{"fold": 1}, {"continue_training": True}], ids=["other fold", "--c"])


AS_NOTED = pytest.mark.parametrize(
    ("cases", "named"),
    [
        ({"p": "1"}, "DWI.q is gone"),
        ({"p": "1", "q": "2", "r": "3"}, "DWI.r is new"),
        ({"p": "1", "q": "9"}, "DWI.q was"),
    ],
)


def set_features(plans) -> None:
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 4, 4]


def set_batch(plans) -> None:
    plans["configurations"]["2d"]["batch_size"] = 5


def set_intensities(plans) -> None:
    plans["foreground_intensity_properties_per_channel"]["1"]["mean"] = 99.0


def unchanged(plans) -> None:
    pass


def shared(trainer) -> Path:
    return Path(trainer.output_folder_base) / "plans.json"


def share(trainer) -> None:
    write_shared_plans(trainer.results_base, trainer.plans_manager.plans, trainer.dataset_json, trainer.log)


def checkpoint(trainer, name="latest") -> None:
    trainer.save_checkpoint(str(trainer.fold_layout.root / f"checkpoint_{name}.pth"))


class TestFold:
    @pytest.mark.parametrize(
        ("first", "then", "edit", "named"),
        [
            ({}, EPOCHS, unchanged, "plan: mgcl.coarse.epochs was 120, is 3"),
            ({}, {"labels": "masks"}, unchanged, "mgcl.lesion_labels"),
            ({"labels": CORE_RIM}, {"labels": RIM_CORE}, unchanged, "labels.core was 1, is 2"),
            ({}, {}, set_features, "features_per_stage was [4, 8, 16]"),
        ],
    )
    def test_other_inputs_are_refused_also_where_plans_json_is_gone(
        self, start, plans, note, first, then, edit, named
    ) -> None:
        trainer, _ = start(**first)
        for path in (shared(trainer), shared(trainer).with_name("dataset.json")):
            path.unlink()
        edit(plans)
        with pytest.raises(UserError) as refusal:
            start(continue_training=True, **then)
        assert refusal.value.where.endswith("inputs.json") and "--c" in refusal.value.remedy
        assert named in refusal.value.found
        assert not shared(trainer).exists()

    def test_another_image_or_mask_of_the_same_name_is_refused(self, start, note, monkeypatch) -> None:
        start()
        start(continue_training=True)
        monkeypatch.setattr("nnunet_mgcl.training.run_inputs._fingerprint", lambda _, case: case)
        with pytest.raises(UserError, match=r"training images and masks: case_0 was of an empty file, is case_0"):
            start(continue_training=True)
        assert note.runs == 2

    def test_what_an_earlier_version_did_not_note_and_checkpointing_may_differ(self, start, note) -> None:
        trainer, _ = start()
        noted = json.loads(trainer.fold_layout.inputs.read_text())
        del noted["labels"]
        write_json(trainer.fold_layout.inputs, noted)
        trainer, _ = start(continue_training=True, mgcl={"segment": {"checkpointing": True}})
        assert note.runs == 2 and trainer.mgcl_network.checkpointing

    def test_another_split_is_refused_even_after_a_checkpoint(self, start, note) -> None:
        trainer, _ = start()
        checkpoint(trainer)
        splits = trainer.dataset_layout.splits
        splits.write_text(json.dumps(json.loads(splits.read_text())[::-1]))
        with pytest.raises(UserError, match="training cases: case_0 is gone"):
            start(continue_training=True)

    def test_pretrained_weights_are_not_forgotten_before_the_first_checkpoint(self, start, weights, note) -> None:
        trainer, _ = start(pretrained=weights)
        with pytest.raises(UserError, match=r"pretrained weights[\s\S]*-pretrained_weights"):
            start(continue_training=True)
        checkpoint(trainer)
        start(continue_training=True)
        assert note.runs == 0


class TestPool:
    def with_pool(self, trainer, **cases):
        """The manifest of a preprocessed pool whose raw files have these hashes."""
        with Manifest(trainer.dataset_layout.unlabelled("nnUNetPlans_2d"), writes=True) as manifest:
            manifest.begin("DWI", {})
            manifest.forget("DWI", manifest.cases("DWI"))
            for case, sha in cases.items():
                manifest.add("DWI", case, [{"name": f"{case}_0000.nii.gz", "sha256": sha}], 3)
            manifest.store_digests()
            manifest.save()
        return trainer

    @AS_NOTED
    def test_another_pool_is_refused_while_phases_read_it(self, start, make_trainer, note, cases, named) -> None:
        trainer, _ = start(self.with_pool(make_trainer(), p="1", q="2"))
        self.with_pool(trainer, **cases)
        with pytest.raises(UserError, match="unlabelled pool") as refusal:
            start(continue_training=True)
        assert named in refusal.value.found
        checkpoint(trainer)
        start(continue_training=True)  # the phases that read it are done

    @AS_NOTED
    def test_fold_of_an_earlier_version_that_noted_every_hash_is_compared(
        self, start, make_trainer, note, cases, named
    ) -> None:
        trainer, _ = start(self.with_pool(make_trainer(), p="1", q="2"))
        inputs = json.loads(trainer.fold_layout.inputs.read_text())
        inputs["unlabelled pool"]["DWI"] = {"p": ["1"], "q": ["2"]}
        write_json(trainer.fold_layout.inputs, inputs)
        trainer.fold_layout.pool_listing("DWI").unlink()
        start(continue_training=True)
        self.with_pool(trainer, **cases)
        with pytest.raises(UserError, match="unlabelled pool") as refusal:
            start(continue_training=True)
        assert named in refusal.value.found

    def test_the_same_pool_in_another_order_is_the_same(self, start, make_trainer, note) -> None:
        trainer, _ = start(self.with_pool(make_trainer(), p="1", q="2"))
        assert len(trainer.fold_layout.inputs.read_text()) < 10_000
        self.with_pool(trainer, q="2", p="1")
        start(continue_training=True)
        assert note.runs == 2

    def test_pool_whose_cases_the_fold_knows_no_more_is_refused_all_the_same(self, start, make_trainer, note) -> None:
        trainer, _ = start(self.with_pool(make_trainer(), p="1"))
        trainer.fold_layout.pool_listing("DWI").unlink()
        self.with_pool(trainer, p="2")
        with pytest.raises(UserError, match="unlabelled pool: DWI has changed"):
            start(continue_training=True)

    def test_it_is_nothing_to_a_trainer_without_pretraining(self, start, make_trainer, monkeypatch) -> None:
        monkeypatch.setattr(MGCLTrainer, "pretraining", ())
        trainer, _ = start(self.with_pool(make_trainer(), p="1"))
        self.with_pool(trainer, p="2")
        start(continue_training=True)


class TestSharedPlans:
    def test_they_are_written_before_the_first_phase(self, start, monkeypatch) -> None:
        seen = []

        def look(_, context) -> None:
            seen.append(json.loads((context.layout.root.parent / "plans.json").read_text()))

        monkeypatch.setattr("nnunet_mgcl.training.mgcl_trainer.pretrain", look)
        trainer, _ = start()
        assert seen == [json.loads(json.dumps(trainer.plans_manager.plans))]

    def test_half_a_file_is_written_anew(self, start, make_trainer, note) -> None:
        trainer = make_trainer()
        share(trainer)
        whole = shared(trainer).read_text()
        shared(trainer).write_text(whole[:100])
        _, log = start(trainer)
        assert shared(trainer).read_text() == whole
        assert "half a file" in log

    @AGAIN
    def test_training_drops_a_calibration_and_says_so(self, start, plans, note, again) -> None:
        plans["mgcl_calibration"] = {"method": "platt"}  # of the model that this plan was copied from
        first, log = start()
        assert "mgcl_calibration" not in first.plans_manager.plans and "calibration" not in log
        content = json.loads(shared(first).read_text())
        shared(first).write_text(json.dumps(content | {"mgcl_calibration": {"method": "platt"}}))
        _, log = start(**again)
        assert note.runs == 2
        assert json.loads(shared(first).read_text()) == content
        assert "calibration in plans.json is removed; run mgcl evaluate" in log

    @AGAIN
    def test_folds_of_an_older_version_are_continued_with_what_it_did(self, start, note, again, monkeypatch) -> None:
        """`head` stands for any key that a version did not know."""
        trainer, _ = start(mgcl={"tss": {"grid": 2, "head": "mrff"}})
        plans, inputs = json.loads(shared(trainer).read_text()), json.loads(trainer.fold_layout.inputs.read_text())
        for configuration in (plans["configurations"]["2d"], inputs["plan"]):
            del configuration["mgcl"]["tss"]["head"]
        write_json(shared(trainer), plans)
        write_json(trainer.fold_layout.inputs, inputs)
        head = TSSConfig.model_fields["head"]
        monkeypatch.setattr(head, "metadata", [Older("mlp") if isinstance(m, Older) else m for m in head.metadata])
        with pytest.raises(UserError, match=r"mgcl\.tss\.head was mlp, is mrff"):
            start(mgcl={"tss": {"grid": 2, "head": "mrff"}}, **again)
        trainer, _ = start(mgcl={"tss": {"grid": 2}}, **again)
        assert trainer.config.tss.head == "mlp"
        assert note.runs == 2

    @pytest.mark.parametrize(
        ("first", "then", "edit", "named"),
        [
            ({}, EPOCHS, unchanged, "mgcl.coarse.epochs"),
            ({}, {"labels": "masks"}, unchanged, "mgcl."),
            ({}, {"tss": False}, unchanged, "mgcl.tss"),
            ({}, {}, set_batch, "batch_size was 12, is 5"),
            ({}, {}, set_intensities, "channel.1.mean was 10.0, is 99.0"),  # CT is normalised by these numbers
            ({"labels": CORE_RIM}, {"labels": RIM_CORE}, unchanged, "folds trained with other labels"),
        ],
    )
    def test_fold_of_another_plan_is_refused_and_replaces_nothing(
        self, start, make_trainer, plans, note, first, then, edit, named
    ) -> None:
        trainer = make_trainer(fold=0, **first)
        share(trainer)
        before = shared(trainer).read_text()
        edit(plans)
        with pytest.raises(UserError) as refusal:
            start(fold=1, **then)
        assert named in refusal.value.found
        assert shared(trainer).read_text() == before

    @pytest.mark.parametrize("validation_only", [False, True], ids=["--c", "--val"])
    def test_checkpoint_of_another_network_is_refused_with_the_difference(
        self, start, make_trainer, plans, note, validation_only
    ) -> None:
        checkpoint(start()[0], "final")
        set_features(plans)
        trainer = make_trainer(continue_training=not validation_only)
        with pytest.raises(SystemExit, match=r"plans\.json[\s\S]*features_per_stage was \[4, 8, 16\]"):
            maybe_load_checkpoint(trainer, not validation_only, validation_only)
