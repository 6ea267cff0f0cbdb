"""`mgcl predict`'s predictor, by default and with `fast`, beside nnU-Net's own, on one patient with random weights.

Three branches, five folds, mirrored, the 2d plan. What is timed is said in `prediction_speed`, which this calls.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from gpu.dataset import CHANNELS, FOLDS, SHAPE, SPACING, noise, planned
from gpu.rows import row
from prediction_speed import loaded, measured, preprocessed

from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

ROUNDS = 2
MOST_OTHER = 0.05
"""Share of voxels that half precision may decide otherwise: untrained networks are sure of nothing."""


def run(device: str) -> None:
    """Prints what stands ready, then a row a predictor; all are measured in turn, and so together."""
    with planned(device) as (plans, dataset_json):
        ready: dict[str, Any] = {}

        def prepare() -> dict[str, Any]:
            model = save_model(plans, dataset_json, torch.device(device))
            images = write_patient(model.parent / "images", device)
            ready["predictors"] = loaded(model, torch.device(device), [])
            ready["patients"] = preprocessed(ready["predictors"]["nnU-Net"], images, 1)
            return {"folds": FOLDS, "patient": "x".join(map(str, SHAPE[device]))}

        if "error" in row({"predictor": "all of them, loaded"}, prepare):
            return
        row({"predictor": "all of them, measured"}, lambda: ready.update(compared(**ready)) or {"rounds": ROUNDS})
        for name in ready.get("rows", {}):
            row({"predictor": name}, lambda: ready["rows"][name])  # noqa: B023 (called at once)


def compared(predictors: dict[str, Any], patients: dict[str, Any]) -> dict[str, Any]:
    """The rows by predictor."""
    seconds, maps = measured(predictors, patients, ROUNDS)
    (reference,) = maps["nnU-Net"]
    rows = {}
    for name, own in seconds.items():
        (label_map,) = maps[name]
        rows[name] = {
            "network s": float(np.median(own["network"])), "patient s": float(np.median(own["patient"])),
            "other voxels": int((label_map != reference).sum()), "of": reference.size,
            "lesion voxels": int((label_map > 0).sum()), "batching": str(getattr(predictors[name], "_batching", None)),
        }  # fmt: skip
        if rows[name]["other voxels"] > MOST_OTHER * reference.size:
            rows[name]["error"] = "another prediction than nnU-Net's"
    return {"rows": rows}


def save_model(plans: dict[str, Any], dataset_json: dict[str, Any], device: torch.device) -> Path:
    """A results folder of untrained folds, each with weights of its own."""
    trainer = MGCLTrainer(deepcopy(plans) | {"continue_training": False}, "2d", 0, deepcopy(dataset_json), device)
    trainer.initialize()
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()  # sets the mirror axes
    model = Path(trainer.output_folder_base)
    for fold in range(FOLDS):  # one trainer for all: setting one up takes seconds
        trainer.network.apply(InitWeights_He(1e-2))
        (model / f"fold_{fold}").mkdir(exist_ok=True)
        trainer.save_checkpoint(str(model / f"fold_{fold}" / "checkpoint_final.pth"))
    for file, known in (("plans", trainer.plans_manager.plans), ("dataset", trainer.dataset_json)):
        (model / f"{file}.json").write_text(json.dumps(known))
    return model


def write_patient(folder: Path, device: str) -> Path:
    """Noise on the plan's own grid, so that nothing is resampled."""
    folder.mkdir()
    images, _ = noise(1, len(CHANNELS), list(SHAPE[device]), torch.device("cpu"))
    for channel, volume in enumerate(images[0].numpy()):
        image = sitk.GetImageFromArray(volume)
        image.SetSpacing(SPACING[::-1])
        sitk.WriteImage(image, str(folder / f"patient_{channel:04}.nii.gz"), useCompression=False)
    return folder
