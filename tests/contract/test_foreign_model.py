"""A model that somebody else has made, or that was not copied whole, in `mgcl predict -m`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nnunet_mgcl.cli import main
from tests.evil import Evil

WORDS = ("-f", "0", "-device", "cpu", "-npp", "0", "-nps", "0")


@pytest.fixture
def checkpoint(model) -> Path:
    return Path(model) / "fold_0" / "checkpoint_final.pth"


def change(checkpoint, **entries) -> None:
    torch.save(torch.load(checkpoint, weights_only=False) | entries, checkpoint)


def refused(model, images, tmp_path, message) -> None:
    with pytest.raises(SystemExit, match=message):
        main(["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", model, *WORDS])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("trainer", ["MGCLTrainer", "nnUNetTrainer"])
def test_function_that_a_plan_names_is_not_called(model, checkpoint, images, tmp_path, mark, trainer) -> None:
    """nnU-Net's own trainer builds the network without this plugin."""
    change(checkpoint, trainer_name=trainer)
    path = Path(model) / "plans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"] |= {
        "nonlin": "os.mkdir", "nonlin_kwargs": {"path": str(mark)}
    }  # fmt: skip
    path.write_text(json.dumps(plans))
    refused(model, images, tmp_path, r"architecture\n.*os\.mkdir")


def test_checkpoint_of_another_network_or_trainer_is_refused(model, checkpoint, images, tmp_path) -> None:
    weights = torch.load(checkpoint, weights_only=False)["network_weights"]
    change(checkpoint, network_weights={name: value for name, value in weights.items() if "encoder" not in name})
    refused(model, images, tmp_path, r"cannot be loaded \(Error\(s\) in loading state_dict for MGCLNetwork")
    change(checkpoint, network_weights=weights, trainer_name="NoTrainer")
    refused(model, images, tmp_path, r"cannot be loaded \(.*NoTrainer")


def test_training_that_goes_on_names_its_truncated_checkpoint_and_runs_no_code(make_trainer, model, checkpoint, mark):
    trainer = make_trainer(labels="masks", continue_training=True)
    change(checkpoint, logging=Evil(mark))
    with pytest.raises(SystemExit, match=r"code .*mkdir"):
        trainer.load_checkpoint(str(checkpoint))
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(SystemExit, match=r"checkpoint_final\.pth\n.*truncated"):
        trainer.load_checkpoint(str(checkpoint))
