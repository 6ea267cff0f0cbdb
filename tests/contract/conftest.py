"""Trainers of a dataset that is planned but of which hardly a file exists."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_mgcl.data.prepare import Prepared
from nnunet_mgcl.resources import trainers_dir
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

NAME = "Dataset901_Tiny"
CASES = [f"case_{number}" for number in range(4)]
MASKS = {
    "labels": {"background": 0, "A": 1, "B": 2, "A+B": 3},
    "mgcl": {"modalities": {"A": [0, 2], "B": [1]}, "lesion_labels": {"A": [1, 3], "B": [2, 3]}},
}
LABELS: dict[str, dict[str, Any]] = {
    "shared": {},
    "ignore": {"labels": {"background": 0, "lesion": 1, "ignore": 2}},
    "masks": MASKS,
    "masks, ignore": {**MASKS, "labels": {**MASKS["labels"], "ignore": 4}},
}
"""What differs in dataset.json."""

SMALL_HEAD = {"tss": {"grid": 2, "heads": 2}}


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's folders, with a TSS table, a split and what nnU-Net copies into a results folder."""
    root = tmp_path / "workspace"
    for variable in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{variable}", str(root / variable))
    monkeypatch.setenv("nnUNet_extTrainer", str(trainers_dir()))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    preprocessed = root / "preprocessed" / NAME
    for configuration in ("2d", "3d_fullres"):
        folder = preprocessed / f"nnUNetPlans_{configuration}"
        folder.mkdir(parents=True)
        for case in CASES:
            (folder / f"{case}.b2nd").touch()
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
    monkeypatch.setattr("nnunetv2.training.nnUNetTrainer.nnUNetTrainer.nnUNetTrainer.on_train_start", lambda _: None)
