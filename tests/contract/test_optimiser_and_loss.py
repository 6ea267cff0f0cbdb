from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

from nnunet_mgcl.losses import ModalityDiceBCELoss
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

SIZES = (32, 16)
"""Resolutions of deep supervision in the tiny plan: all but the deepest."""


def batch(channels=3, highest=1):
    torch.manual_seed(0)
    targets = [torch.randint(0, highest + 1, (2, 1, side, side)) for side in SIZES]
    return {"data": torch.randn(2, channels, 32, 32), "target": targets, "keys": np.array(["case_1", "case_2"])}


def initialised(make_trainer, trainer=MGCLTrainer, **arguments):
    trainer = make_trainer(trainer, **arguments)
    trainer.initialize()
    ignored, device = trainer.label_manager.ignore_label, torch.device("cpu")
    trainer.context = SimpleNamespace(autocast=nullcontext, device=device, ignore_label=ignored)
    return trainer


def perfect(target: torch.Tensor) -> torch.Tensor:
    """Logits of the combinations (background, A, B, A + B) as the sum of two branches that are always right."""
    a, b = (30 * (2.0 * torch.isin(target[:, 0], torch.tensor(own)) - 1) for own in ([1, 3], [2, 3]))
    return torch.stack([torch.zeros_like(a), a, b, a + b], dim=1)


class TestOptimiser:
    def test_it_holds_every_parameter_but_the_head_s(self, make_trainer) -> None:
        trainer = initialised(make_trainer)
        held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
        for name, parameter in trainer.network.named_parameters():
            assert (id(parameter) in held) is not name.startswith("tss."), name
        assert trainer.network.tss is not None

    def test_it_is_adam_with_the_block_s_settings_and_nnunet_s_schedule(self, make_trainer) -> None:
        segment = {"lr": 0.02, "beta1": 0.8, "weight_decay": 0.1, "epochs": 10}
        trainer = initialised(make_trainer, mgcl={"segment": segment})
        (group,) = trainer.optimizer.param_groups
        assert isinstance(trainer.optimizer, torch.optim.Adam)
        assert (group["lr"], group["betas"], group["weight_decay"]) == (0.02, (0.8, 0.999), 0.1)
        trainer.lr_scheduler.step(5)
        assert group["lr"] == pytest.approx(0.02 * 0.5**0.9)

    @pytest.mark.parametrize("labels", ["shared", "masks"])
    def test_a_step_of_segment_changes_everything_but_the_head(self, make_trainer, labels) -> None:
        trainer = initialised(make_trainer, labels=labels)
        before = {name: p.clone() for name, p in trainer.network.named_parameters()}
        loss = trainer.train_step(batch(highest=1 if labels == "shared" else 3))["loss"]
        assert np.isfinite(loss)
        for name, parameter in trainer.network.named_parameters():
            if name.startswith("tss."):
                assert torch.equal(parameter, before[name])
            elif name.endswith("weight") and ".seg_layers.0." not in name:  # nnU-Net gives the lowest output no weight
                assert not torch.equal(parameter, before[name]), name


class TestLoss:
    def test_shared_labels_have_nnunet_s_own_loss(self, make_trainer) -> None:
        loss = initialised(make_trainer).loss
        assert isinstance(loss, DeepSupervisionWrapper) and isinstance(loss.loss, DC_and_CE_loss)

    @pytest.mark.parametrize("labels", ["masks", "masks, ignore"])
    @pytest.mark.parametrize("present", [[0], [1], [3], [0, 1, 2, 3], [0, 2]])
    def test_perfect_prediction_is_the_minimum_whatever_combinations_occur(self, make_trainer, labels, present) -> None:
        trainer = initialised(make_trainer, labels=labels)
        targets = [torch.tensor(present)[torch.randint(len(present), (2, 1, side, side))] for side in SIZES]
        assert isinstance(trainer.loss.loss, ModalityDiceBCELoss)
        logits = [perfect(target) for target in targets]
        assert trainer.loss(logits, targets).item() == pytest.approx(-1, abs=1e-3)
        wrong = [perfect(3 - target) for target in targets]
        assert trainer.loss(wrong, targets).item() > 10

    def test_without_deep_supervision_it_takes_one_map(self, make_trainer) -> None:
        target = batch(highest=3)["target"][0]
        trainer = initialised(make_trainer, Flat, labels="masks")
        assert trainer.loss(perfect(target), target).item() == pytest.approx(-1, abs=1e-3)


class Flat(MGCLTrainer):
    """As a user may subclass it."""

    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")) -> None:  # noqa: B008
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.enable_deep_supervision = False


class TestOnlineValidation:
    """nnU-Net's pseudo Dice; here for each modality instead of each combination."""

    def outputs(self, make_trainer, labels, predicted, targets, trainer=MGCLTrainer):
        trainer = initialised(make_trainer, trainer, labels=labels)
        trainer.network = lambda _: predicted
        return trainer, trainer.validation_step({"data": torch.zeros(2, 3, 32, 32), "target": targets})

    def test_counts_are_those_of_each_modality(self, make_trainer) -> None:
        target = torch.zeros(2, 1, 32, 32, dtype=torch.long)
        target[:, :, 0, :4] = torch.tensor([1, 2, 3, 3])
        predicted = torch.zeros_like(target)
        predicted[:, :, 0, :4] = torch.tensor([1, 1, 3, 2])
        targets = [target, target[:, :, ::2, ::2]]
        _, result = self.outputs(make_trainer, "masks", [perfect(predicted), perfect(targets[1])], targets)
        assert result["tp_hard"].tolist() == [4, 4]  # both samples of the batch
        assert result["fp_hard"].tolist() == [2, 0]
        assert result["fn_hard"].tolist() == [2, 2]

    def test_a_perfect_epoch_has_a_dice_of_one_a_modality(self, make_trainer) -> None:
        targets = batch(highest=3)["target"]
        trainer, result = self.outputs(make_trainer, "masks", [perfect(t) for t in targets], targets)
        trainer.on_validation_epoch_end([result])
        assert trainer.logger.get_value("dice_per_class_or_region", step=-1) == pytest.approx([1, 1])
        assert result["loss"] == pytest.approx(-1, abs=1e-3)

    def test_ignored_voxels_are_not_counted(self, make_trainer) -> None:
        targets = batch(highest=3)["target"]
        predicted = [perfect(3 - target) for target in targets]
        for target in targets:
            target[:] = 4
        _, result = self.outputs(make_trainer, "masks, ignore", predicted, targets)
        assert not result["tp_hard"].any() and not result["fp_hard"].any() and not result["fn_hard"].any()

    def test_trainer_without_deep_supervision(self, make_trainer) -> None:
        target = batch(highest=3)["target"][0]
        _, result = self.outputs(make_trainer, "masks", perfect(target), target, trainer=Flat)
        assert result["tp_hard"].all() and not result["fp_hard"].any()
