"""Trainers of a dataset that is planned but of which hardly a file exists, and what they start from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.logging.nnunet_logger import MetaLogger

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.prepare import Prepared
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.curves import Curves
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.system.resources import trainers_dir
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer
from tests.conftest import Once
from tests.contract.models import save_fold
from tests.contract.validated import dataset, make_run, write_mask  # noqa: F401
from tests.labels import LABELS

NAME = "Dataset901_Tiny"
CASES = [f"case_{number}" for number in range(4)]
SMALL_HEAD = {"tss": {"head": "mrff", "compared": [], "grid": 2, "heads": 2}}


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's folders, with a TSS table, a split and what nnU-Net copies into a results folder."""
    root = tmp_path / "workspace"
    for variable in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{variable}", str(root / variable))
    monkeypatch.setenv("nnUNet_extTrainer", str(trainers_dir()))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    preprocessed = root / "preprocessed" / NAME
    for configuration, case in product(("2d", "3d_fullres"), CASES):
        path = preprocessed / f"nnUNetPlans_{configuration}" / f"{case}.b2nd"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (preprocessed / "tss.csv").write_text("case,tss_class\ncase_0,1\ncase_1,0\n")
    (preprocessed / "dataset_fingerprint.json").write_text("{}")
    splits = [{"train": CASES[:2], "val": CASES[2:]}, {"train": CASES[2:], "val": CASES[:2]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    return root


@pytest.fixture
def make_trainer(plans: dict[str, Any], dataset_json: dict[str, Any], workspace: Path) -> Callable[..., MGCLTrainer]:
    def make(
        trainer: type[MGCLTrainer] = MGCLTrainer,
        configuration: str = "2d",
        fold: int | str = 0,
        *,
        mgcl: dict[str, Any] | None = None,
        labels: str | dict[str, Any] = "shared",
        tss: bool = True,
        continue_training: bool = False,
        own_plans: dict[str, Any] | None = None,
    ) -> MGCLTrainer:
        """As nnU-Net's `get_trainer_from_args` does, whose plans come fresh from a file."""
        if not tss:
            (workspace / "preprocessed" / NAME / "tss.csv").unlink(missing_ok=True)
        content = deepcopy(own_plans or plans)
        content["configurations"][configuration].setdefault("mgcl", {**SMALL_HEAD, **(mgcl or {})})
        content["continue_training"] = continue_training
        json_content = {**deepcopy(dataset_json), **deepcopy(LABELS[labels] if isinstance(labels, str) else labels)}
        return trainer(content, configuration, fold, json_content, torch.device("cpu"))

    return make


@pytest.fixture
def without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `on_train_start` run on the empty files: no preparation, and nnU-Net's own part left out."""
    monkeypatch.setattr(MGCLTrainer, "_prepare", lambda self: Prepared(self.config, None, [], {}))
    monkeypatch.setattr("nnunet_mgcl.training.run_inputs._fingerprint", lambda *_: "of an empty file")
    monkeypatch.setattr("nnunetv2.training.nnUNetTrainer.nnUNetTrainer.nnUNetTrainer.on_train_start", lambda _: None)


class Note:
    """Stands for the phases before `segment`, and only notes that they ran."""

    runs = 0

    def __call__(self, phases: Sequence[Pretext], context: FoldContext) -> None:
        self.runs += 1


@pytest.fixture
def note(monkeypatch: pytest.MonkeyPatch) -> Note:
    note = Note()
    monkeypatch.setattr("nnunet_mgcl.training.mgcl_trainer.pretrain", note)
    return note


@pytest.fixture
def start(
    without_data: None, make_trainer: Callable[..., MGCLTrainer], capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[MGCLTrainer, str]]:
    """Starts a training as nnU-Net's `run_training` would; returns the trainer and what it logged."""

    def start(
        trainer: MGCLTrainer | None = None, pretrained: str | None = None, **arguments: Any
    ) -> tuple[MGCLTrainer, str]:
        trainer = trainer or make_trainer(**arguments)
        maybe_load_checkpoint(trainer, trainer.continue_training, False, pretrained)
        capsys.readouterr()
        trainer.on_train_start()
        return trainer, capsys.readouterr().out

    return start


@pytest.fixture
def weights(make_trainer: Callable[..., MGCLTrainer], tmp_path: Path) -> str:
    """A finished model's checkpoint, whose head is trained."""
    trainer = make_trainer(fold=1)
    trainer.initialize()
    trainer.mgcl_network.tss.trained.fill_(True)
    trainer.save_checkpoint(str(tmp_path / "pretrained.pth"))
    return str(tmp_path / "pretrained.pth")


@pytest.fixture
def real_dataset(tiny_dataset: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> DatasetLayout:
    """`tiny_dataset` where nnU-Net looks for it, with a split of one fold."""
    monkeypatch.setenv("nnUNet_raw", str(tiny_dataset.raw.parent))
    monkeypatch.setenv("nnUNet_preprocessed", str(tiny_dataset.preprocessed.parent))
    splits = [{"train": [f"case_{n}" for n in (0, 1, 3, 4)], "val": ["case_2", "case_5"]}]
    tiny_dataset.splits.write_text(json.dumps(splits))
    (tiny_dataset.preprocessed / "dataset_fingerprint.json").write_text("{}")
    return tiny_dataset


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second each, at every epoch."""
    monkeypatch.setattr(Curves, "_draw", lambda *_: None)
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)


@pytest.fixture
def images(tiny_template: Path, tmp_path: Path) -> Path:
    """Two cases to predict."""
    (tmp_path / "images").mkdir()
    for path in tiny_template.glob("imagesTr/case_[01]_*"):
        shutil.copy(path, tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def model(make_trainer: Callable[..., MGCLTrainer], workspace: Path, once: Once) -> str:
    """Two folds with random weights whose heads count as trained."""

    def build(folder: Path) -> None:
        for fold in (0, 1):
            trained = save_fold(make_trainer(fold=fold, labels="masks"))
        shutil.copytree(trained, folder, dirs_exist_ok=True)
        shutil.rmtree(trained)

    return str(once("model", workspace / "results" / NAME / "MGCLTrainer__nnUNetPlans__2d", build))


@pytest.fixture
def masks_model(
    make_trainer: Callable[..., MGCLTrainer], masks_json: dict[str, Any], workspace: Path, once: Once
) -> Path:
    """The same with a DWI, a FLAIR and a PWI mask, as `masks_json` has them."""

    def build(folder: Path) -> None:
        for fold in (0, 1):
            trained = save_fold(make_trainer(fold=fold, labels=masks_json))
        shutil.copytree(trained, folder, dirs_exist_ok=True)
        shutil.rmtree(trained)

    return once("model with masks", workspace / "results" / NAME / "MGCLTrainer__nnUNetPlans__2d", build)
