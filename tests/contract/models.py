"""Models of random weights, and predictions with them."""

from __future__ import annotations

import csv
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from nnunet_mgcl.inference.folder_predictor import FolderPredictor
from nnunet_mgcl.inference.input_folder import read_images
from nnunet_mgcl.inference.parts import Part
from nnunet_mgcl.plan.plans import deep_merge
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

TINY: dict[str, Any] = {
    **{phase: {"epochs": 1, "batch_size": 6} for phase in ("seed", "self_train")},
    **{phase: {"epochs": 1, "batch_size": 6, "embedding_dim": 8} for phase in ("coarse", "fine")},
    "pseudo_label": {"mirroring": False, "confidence": 0.0},
    "segment": {"epochs": 1, "iterations": 2, "val_iterations": 1},
    "tss": {"epochs": 1, "batch_size": 2, "grid": 2, "heads": 2},
}
"""A block with which a whole training takes seconds."""
OPTIONS: dict[str, Any] = {"save_probabilities": False, "npp": 0, "nps": 0, "prev_stage": None}
WHOLE = Part()


def tiny_trainer(
    plans: dict[str, Any],
    dataset_json: dict[str, Any],
    block: dict[str, Any],
    trainer: type[MGCLTrainer] = MGCLTrainer,
    continue_training: bool = False,
    **configuration: Any,
) -> MGCLTrainer:
    """A trainer of fold 0 as nnU-Net makes it; `block` changes TINY, and `configuration` the plan."""
    content = deepcopy(plans) | {"continue_training": continue_training}
    content["configurations"]["2d"] |= {"mgcl": deep_merge(TINY, block), **configuration}
    return trainer(content, "2d", 0, deepcopy(dataset_json), torch.device("cpu"))


def predictor(
    model: str | Path,
    predictor_class: type = FolderPredictor,
    folds: Any = (0, 1),
    checkpoint: str = "checkpoint_final.pth",
) -> Any:
    """Loads a model as `mgcl predict` (or nnU-Net) does."""
    predictor = predictor_class(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), folds, checkpoint)
    return predictor


def predict(
    model: str, images: Path, output: Path, *, folds: Any = (0, 1), **options: Any
) -> tuple[FolderPredictor, Path | None]:
    """Predicts a folder; returns the predictor and the table."""
    used = predictor(model, folds=folds)
    return used, predict_with(used, images, output, **options)


def predict_with(
    used: Any, images: Path, output: Path, part: Part = WHOLE, *, overwrite: bool = True, **options: Any
) -> Path | None:
    """Predicts a folder with a predictor; returns the table."""
    output.mkdir(exist_ok=True)
    read = read_images(images, used.dataset_json, "SimpleITKIO")
    return used.predict_cases(read, output, part, overwrite=overwrite, **(OPTIONS | options))


def rows(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a table by case."""
    with path.open() as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def voxels(path: Path) -> np.ndarray:
    """An image's `(Z, Y, X)`."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


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
