"""Trainers of a dataset that is planned but of which hardly a file exists, and the results of trained folds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.training.logging.nnunet_logger import MetaLogger

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.prepare import Prepared
from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.engine.curves import Curves
from nnunet_mgcl.evaluation.runs.tss_validation import write_table
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.system.resources import trainers_dir
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer
from tests.conftest import Once

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


def save_fold(trainer: MGCLTrainer, checkpoint: str = "checkpoint_final.pth", head_is_trained: bool = True) -> str:
    """Leaves a fold with random weights as training leaves it; returns the results folder."""
    trainer.initialize()
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()  # sets the mirror axes
    if trainer.mgcl_network.tss is not None:
        trainer.mgcl_network.tss.trained.fill_(head_is_trained)
    trainer.save_checkpoint(str(Path(trainer.output_folder) / checkpoint))
    for file, content in (("plans", trainer.plans_manager.plans), ("dataset", trainer.dataset_json)):
        (Path(trainer.output_folder_base) / f"{file}.json").write_text(json.dumps(content))
    return trainer.output_folder_base


@pytest.fixture
def model(make_trainer: Callable[..., MGCLTrainer], workspace: Path, once: Once) -> str:
    """Two folds with random weights whose heads count as trained."""

    def build(folder: Path) -> None:
        for fold in (0, 1):
            trained = save_fold(make_trainer(fold=fold, labels="masks"))
        shutil.copytree(trained, folder, dirs_exist_ok=True)
        shutil.rmtree(trained)

    return str(once("model", workspace / "results" / NAME / "MGCLTrainer__nnUNetPlans__2d", build))


# ---------------------------------------------------------------------- what three trained and validated folds leave

SHAPE, SPACING = (4, 12, 10), (1.5, 1.0, 5.0)
RUN_CASES = [f"case_{number:02}" for number in range(15)]
SPLITS = [{"train": RUN_CASES[:f] + RUN_CASES[f + 5 :], "val": RUN_CASES[f : f + 5]} for f in (0, 5, 10)]
NO_LESION = "case_05"


def _write_mask(path: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing(SPACING)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def _label_map(random: np.random.Generator, highest: int) -> np.ndarray:
    result = np.zeros(SHAPE, np.uint8)
    for label in range(1, highest + 1):
        z, y, x = random.integers((0, 0, 0), (2, 7, 5))
        result[z : z + 3, y : y + 5, x : x + 4] = label
    return result


@pytest.fixture
def write_mask() -> Callable[[Path, np.ndarray], None]:
    """Writes a label map `(Z, Y, X)` as those of `make_run` are written."""
    return _write_mask


@pytest.fixture
def dataset(workspace: Path) -> Path:
    """The preprocessed dataset: split, TSS table (`case_14` unknown) and references (`case_05` without lesion)."""
    preprocessed = workspace / "preprocessed" / NAME
    (preprocessed / "splits_final.json").write_text(json.dumps(SPLITS))
    rows = [f"{case},{number % 2},p{number // 2}" for number, case in enumerate(RUN_CASES[:-1])]
    (preprocessed / "tss.csv").write_text("\n".join(["case,tss_class,patient", *rows, ""]))
    return preprocessed


@pytest.fixture
def make_run(
    dataset: Path, workspace: Path, plans: dict[str, Any], dataset_json: dict[str, Any]
) -> Callable[..., Path]:
    """Writes what three trained folds leave, and returns the results folder."""

    def make(
        trainer: str = "MGCLTrainer",
        labels: dict[str, Any] | None = None,
        seed: int = 0,
        tss: bool = True,
        highest: int = 1,
        folds: tuple[int, ...] = (0, 1, 2),
        configuration: str = "2d",
    ) -> Path:
        model = workspace / "results" / NAME / f"{trainer}__nnUNetPlans__{configuration}"
        json_content, content = dataset_json | (labels or {}), deepcopy(plans)
        if trainer.startswith("MGCL"):
            block = resolve_block(content, configuration, json_content, tss_known=tss).model_dump(mode="json")
            content["configurations"][configuration]["mgcl"] = block
        model.mkdir(parents=True)
        (model / "plans.json").write_text(json.dumps(content))
        (model / "dataset.json").write_text(json.dumps(json_content))
        references, predictions = np.random.default_rng(100), np.random.default_rng(seed)
        table = read_tss_table(dataset / "tss.csv", RUN_CASES)
        for case in RUN_CASES:
            reference = _label_map(references, highest) * (case != NO_LESION)
            _write_mask(dataset / "gt_segmentations" / f"{case}.nii.gz", reference)
        for fold in folds:
            validation = model / f"fold_{fold}" / "validation"
            for case in SPLITS[fold]["val"]:
                _write_mask(validation / f"{case}.nii.gz", _label_map(predictions, min(highest, 3)))
            (validation / "summary.json").write_text("{}")
            if tss:
                own = {case: float(predictions.random()) for case in SPLITS[fold]["val"]}
                write_table(validation / "tss.csv", "mrff", {"mrff": own}, table)
            if trainer.startswith("MGCL"):
                _write_phases(model / f"fold_{fold}")
        return model

    return make


def _write_phases(fold: Path) -> None:
    """What the phases and nnU-Net's trainer note: FLAIR had nothing to contrast."""
    (fold / "phases").mkdir(parents=True)
    state = {"done": ["seed/DWI", "coarse/DWI", "coarse/FLAIR"], "skipped": ["coarse/FLAIR"], "current": None}
    (fold / "phases" / "state.json").write_text(json.dumps(state))
    loss, confidence = ["epoch", "training loss"], ["pool case", "confidence"]
    curves = {
        "seed": {"axes": loss, "curves": {"DWI": [0.9, 0.5, 0.3], "FLAIR": [0.8, 0.7, 0.6]}},
        "pseudo_label_1": {"axes": confidence, "curves": {"DWI": [0.9, 0.6], "FLAIR": []}},
        "coarse": {
            "axes": loss,
            "curves": {"DWI": [3.1, 3.0]},
            "beside": {"DWI": {"chance": [3.2, 3.2], "floor": [2.8, 2.9]}},
        },
        "coarse_knn": {
            "axes": ["epoch", "kNN balanced accuracy"],
            "curves": {"DWI": [0.6, 0.8]},
            "at": {"DWI": [0, 2]},
        },
        "segment": {"axes": loss, "curves": {"all branches": [0.5, 0.25]}},
        "pseudo_label_2": {"axes": confidence, "curves": {"DWI": [0.95]}},
        "tss": {"axes": loss, "curves": {"mrff": [0.7, 0.6]}},
    }
    (fold / "phases" / "curves.json").write_text(json.dumps(curves))
    debug = {"torch_version": "2.9.9+fake", "device": "cuda:0", "gpu_name": "A GPU", "cudnn_version": "None",
             "hostname": "secret-host", "output_folder": str(fold)}  # fmt: skip
    (fold / "debug.json").write_text(json.dumps(debug))
