"""nnU-Net's own loop, seeded at every epoch: with nnUNet_n_proc_DA=0 a resumed run is the uninterrupted one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint

from nnunet_mgcl.training.variants import MGCLTrainerMeanTeacher, MGCLTrainerRandomInit
from tests.contract.models import tiny_trainer

BLOCK = {
    "segment": {"epochs": 3},
    "mean_teacher": {"start": 0.0, "ramp": 0.1, "batch_size": 2},
}


@pytest.fixture
def start(real_dataset, no_pictures, plans, masks_json, monkeypatch, tmp_path):
    """Runs a training of three epochs, or kills it after one."""

    def start(results, trainer_class=MGCLTrainerRandomInit, killed_after=None, continue_training=False):
        monkeypatch.setenv("nnUNet_results", str(tmp_path / results))
        trainer = tiny_trainer(plans, masks_json, BLOCK, trainer_class, continue_training, batch_size=3)
        trainer.save_every = 1
        maybe_load_checkpoint(trainer, continue_training, False)
        if killed_after is not None:
            epoch_end = trainer.on_epoch_end

            def killed():
                epoch_end()
                if trainer.current_epoch == killed_after:
                    raise KeyboardInterrupt

            trainer.on_epoch_end = killed
        trainer.run_training()
        return trainer

    return start


@pytest.mark.parametrize("trainer", [MGCLTrainerRandomInit, MGCLTrainerMeanTeacher])
def test_resumed_training_is_bit_identical_with_its_head(start, trainer) -> None:
    whole = start("whole", trainer)
    with pytest.raises(KeyboardInterrupt):
        start("resumed", trainer, killed_after=1)
    resumed = start("resumed", trainer, continue_training=True)

    expected = whole.network.state_dict()
    for name, value in resumed.network.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert bool(expected["tss.trained"])
    for key in ("train_losses", "val_losses", "mean_fg_dice"):
        assert resumed.logger.get_value(key, step=None) == whole.logger.get_value(key, step=None)
    folder = Path(resumed.output_folder)
    assert (folder / "checkpoint_final.pth").is_file() and not (folder / "checkpoint_latest.pth").exists()
    assert not list(folder.rglob("*.part.*"))
    losses = json.loads((folder / "phases" / "curves.json").read_text())["segment"]["curves"]["all branches"]
    assert losses == pytest.approx(whole.logger.get_value("train_losses", step=None))
    assert not list((folder / "phases").rglob("teacher.pth"))


def test_the_pool_changes_what_is_learned_and_is_needed(start, real_dataset) -> None:
    alone, together = (start(trainer.__name__, trainer) for trainer in (MGCLTrainerRandomInit, MGCLTrainerMeanTeacher))
    first, *later = zip(*(own.logger.get_value("train_losses", step=None) for own in (alone, together)), strict=True)
    assert all(abs(a - b) > 1e-3 for a, b in later), (first, later)
    for image in (real_dataset.raw / "imagesUn").glob("*_0002.nii.gz"):
        image.unlink()
    with pytest.raises(SystemExit, match=r"no unlabelled case of PWI"):
        start("without PWI", MGCLTrainerMeanTeacher)
