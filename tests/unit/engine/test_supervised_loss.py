from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_mgcl.engine.supervised_loss import supervised_loss


class TestLoss:
    def logits_and_target(self, labels):
        """A perfect prediction, and a target in which row 3 (where there is such a label) is ignored."""
        torch.manual_seed(0)
        truth = torch.zeros(2, 1, 8, 8, dtype=torch.long)
        truth[:, :, :4] = 1
        if labels == "regions":
            target = torch.cat([truth, truth.flip(2)], 1).bool()
            return 30 * (2.0 * target - 1), target
        logits = 30 * torch.cat([1.0 - truth, truth], 1)
        if labels == "ignore":
            truth[:, :, 3] = 2
        return logits, truth

    @pytest.mark.parametrize("labels", ["shared", "ignore", "regions", "masks"])
    def test_perfect_prediction_is_the_minimum(self, make_context, labels) -> None:
        context = make_context(labels=labels)
        logits, target = self.logits_and_target(labels)
        loss = supervised_loss(context, context.branches[0])
        assert loss(logits, target).item() == pytest.approx(-1, abs=1e-4)
        assert loss(-logits, target).item() > 1

    @pytest.mark.parametrize("labels", ["shared", "ignore", "regions", "two lesions"])
    @pytest.mark.parametrize("batch_dice", [True, False])
    def test_it_is_nnunet_s_own_loss(self, make_context, labels, batch_dice) -> None:
        context = make_context(labels=labels)
        branch = context.branches[0]
        branch.configuration.configuration["batch_dice"] = batch_dice
        stock = SimpleNamespace(
            label_manager=branch.label_manager,
            configuration_manager=branch.configuration,
            is_ddp=False,
            enable_deep_supervision=False,
            _do_i_compile=lambda: False,
        )
        logits, target = self.logits_and_target(labels)
        if labels == "two lesions":
            logits = torch.cat([logits, logits[:, :1].flip(-2)], 1)
        logits = logits / 30 + torch.randn(logits.shape)
        expected = nnUNetTrainer._build_loss(stock)(logits, target)
        torch.testing.assert_close(supervised_loss(context, branch)(logits, target), expected)
