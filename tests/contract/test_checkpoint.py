"""What `save_checkpoint` leaves loads in nnU-Net's own predictor and trainer, and is never half a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
from nnunet_mgcl.plan.plans import deep_merge
from nnunet_mgcl.training.variants import MGCLTrainerRandomInit
from tests.contract.models import predictor, save_fold


def trained(make_trainer, *, name="checkpoint_final.pth", head_is_trained=True, **arguments):
    """A fold as training leaves it, with random weights."""
    trainer = make_trainer(**arguments)
    save_fold(trainer, name, head_is_trained)
    return trainer


def load(trainer, folds=(0,), name="checkpoint_final.pth", predictor_class=MGCLPredictor):
    return predictor(trainer.output_folder_base, predictor_class, folds, name)


class TestStockPredictor:
    @pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
    @pytest.mark.parametrize("labels", ["shared", "masks"])
    @pytest.mark.parametrize("predictor_class", [nnUNetPredictor, MGCLPredictor])
    def test_it_loads_and_predicts_what_the_network_says(
        self, make_trainer, configuration, labels, predictor_class
    ) -> None:
        trainer = trained(make_trainer, configuration=configuration, labels=labels)
        predictor = load(trainer, predictor_class=predictor_class)
        predictor.use_gaussian = False  # its weights at the border of a patch are lost in float16
        image = torch.randn(3, 6, 32, 32)
        logits = predictor.predict_logits_from_preprocessed_data(image)
        network = trainer.mgcl_network.eval()
        network.deep_supervision = False
        with torch.no_grad():
            if configuration == "2d":
                expected = torch.stack([network(image[None, :, z])[0] for z in range(6)], dim=1)
            else:
                expected = network(image[None])[0]
        torch.testing.assert_close(logits.float(), expected, atol=2e-3, rtol=2e-3)  # nnU-Net adds up in float16

    def test_ablations_are_found_by_their_own_name_with_their_head(self, make_trainer) -> None:
        trainer = trained(make_trainer, trainer=MGCLTrainerRandomInit)
        predictor = load(trainer, predictor_class=nnUNetPredictor)
        assert predictor.trainer_name == "MGCLTrainerRandomInit"
        expected = trainer.mgcl_network.state_dict()
        assert any(name.startswith("tss.") for name in expected)
        assert all(torch.equal(value, expected[name]) for name, value in predictor.network.state_dict().items())


class TestMGCLPredictor:
    def test_a_head_that_is_missing_or_untrained_is_named(self, make_trainer) -> None:
        best = {"name": "checkpoint_best.pth", "head_is_trained": False}
        reason = load(trained(make_trainer, **best), name="checkpoint_best.pth").no_tss_reason
        assert "checkpoint_best.pth of fold 0 is untrained" in reason
        trained(make_trainer)
        second = trained(make_trainer, fold=1, head_is_trained=False)
        assert "of fold 1 is untrained" in load(second, folds=(0, 1)).no_tss_reason
        assert "no TSS head" in load(trained(make_trainer, tss=False)).no_tss_reason

    @pytest.mark.parametrize(
        ("fold", "asked", "expected"), [("all", "all", ["all"]), (0, None, ["0"]), (0, "0", ["0"]), (1, [1], ["1"])]
    )
    def test_folds_may_be_given_as_nnunet_allows(self, make_trainer, fold, asked, expected) -> None:
        predictor = load(trained(make_trainer, fold=fold), asked)
        assert predictor.folds == expected
        assert predictor.no_tss_reason is None

    @pytest.mark.parametrize(
        ("change", "place"),
        [
            ({"modalities": None}, "plans.json"),
            ({"tss": {"enabled": None}}, "plans.json"),
            ({"tss": {"modalities": None}}, "plans.json"),
            ({"tss": {"enabled": "yes"}}, "mgcl.tss.enabled"),
        ],
    )
    def test_plan_that_no_training_has_resolved_is_refused(self, make_trainer, change, place) -> None:
        trainer = trained(make_trainer)
        path = Path(trainer.output_folder_base) / "plans.json"
        plans = json.loads(path.read_text())
        path.write_text(json.dumps(deep_merge(plans, {"configurations": {"2d": {"mgcl": change}}})))
        with pytest.raises(SystemExit, match="restore") as error:
            load(trainer)
        assert place in str(error.value)


class TestTrainer:
    def test_nnunet_continues_from_it(self, make_trainer) -> None:
        first = trained(make_trainer, name="checkpoint_latest.pth", head_is_trained=False)
        second = make_trainer(continue_training=True)
        assert not second.checkpoint_loaded
        maybe_load_checkpoint(second, continue_training=True, validation_only=False)
        assert second.checkpoint_loaded
        assert second.current_epoch == 1
        expected = first.network.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in second.network.state_dict().items())

    def test_keys_are_nnunet_s(self, make_trainer, monkeypatch) -> None:
        trainer = trained(make_trainer)
        path = Path(trainer.output_folder) / "checkpoint_final.pth"
        ours = torch.load(path, weights_only=False)
        nnUNetTrainer.save_checkpoint(trainer, str(path))
        assert ours.keys() == torch.load(path, weights_only=False).keys()
        assert ours["trainer_name"] == "MGCLTrainer"
        assert ours["init_args"]["configuration"] == "2d"

    def test_checkpointing_can_be_disabled(self, make_trainer) -> None:
        trainer = make_trainer()
        trainer.initialize()
        trainer.disable_checkpointing = True
        trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
        assert not list(Path(trainer.output_folder).glob("*.pth"))
