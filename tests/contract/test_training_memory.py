"""What a training says about GPU memory."""

from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.training.variants import MGCLTrainerRandomInit


@pytest.mark.parametrize(("side", "said"), [(32, False), (4096, True)])
def test_plan_that_needs_more_than_was_planned_for_is_mentioned(
    make_trainer, without_data, plans, capsys, side, said
) -> None:
    plans["configurations"]["2d"]["patch_size"] = [side, side]
    make_trainer(MGCLTrainerRandomInit, tss=False).on_train_start()
    assert ("MGCL: segment needs about" in capsys.readouterr().out) == said


def test_full_gpu_ends_the_training_with_the_keys_to_change(make_trainer, without_data, monkeypatch) -> None:
    def full(trainer) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(MGCLTrainerRandomInit, "on_epoch_start", full)
    trainer = make_trainer(MGCLTrainerRandomInit)
    with pytest.raises(SystemExit, match=r"phase segment \(all branches\)") as raised:
        trainer.run_training()
    assert "--set segment.checkpointing=true configuration.batch_size=6 -o nnUNetPlans_small" in str(raised.value)
