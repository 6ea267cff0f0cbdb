"""Phase `tss` runs between nnU-Net's last epoch and its `checkpoint_final`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nnunet_mgcl.tss.phase import TSS


def checkpoint(trainer, name):
    return torch.load(Path(trainer.output_folder) / f"checkpoint_{name}.pth", weights_only=False)


@pytest.fixture
def trainer(make_trainer):
    """Just after nnU-Net's last epoch."""
    trainer = make_trainer(mgcl={"segment": {"epochs": 7}})
    trainer.initialize()
    trainer.current_epoch = trainer.num_epochs
    trainer.context = object()
    return trainer


def test_last_epoch_is_saved_before_the_head_is_trained_and_the_head_travels_in_the_final_checkpoint(
    trainer, monkeypatch
) -> None:
    seen = {}

    def train_head(_, context):
        seen.update(checkpoint(trainer, "latest"))
        assert context is trainer.context
        assert not (Path(trainer.output_folder) / "checkpoint_final.pth").exists()
        trainer.mgcl_network.tss.trained.fill_(True)

    monkeypatch.setattr(TSS, "run", train_head)
    trainer.on_train_end()
    assert seen["current_epoch"] == 7  # a run that goes on from here trains no epoch again
    assert not bool(seen["network_weights"]["tss.trained"])
    final = checkpoint(trainer, "final")
    assert final["current_epoch"] == 7
    assert bool(final["network_weights"]["tss.trained"])
    assert not (Path(trainer.output_folder) / "checkpoint_latest.pth").exists()
    assert trainer.current_epoch == 7
