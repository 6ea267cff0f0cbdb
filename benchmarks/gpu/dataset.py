"""A dataset without images: nnU-Net's own plans for thick slices, with `mgcl plan` upon them, and arrays of noise."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NAME, PLANS = "Dataset997_GPUCheck", "MGCLPlans"
CHANNELS = ("DWI", "FLAIR", "PWI")
SHAPE = {"cuda": (25, 512, 512), "cpu": (5, 32, 32)}
SPACING = (6.0, 0.45, 0.45)
CASES = {"cuda": 200, "cpu": 10}
FOLDS = 5


@contextlib.contextmanager
def planned(device: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """nnU-Net's folders with a planned dataset; its plans and its dataset.json.

    The cases are empty files: what trains here gets its arrays from elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="gpu_check_") as name:
        root = Path(name)
        for variable in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{variable}"] = str(root / variable)
        os.environ["nnUNet_n_proc_DA"] = "1"
        dataset_json = write_dataset(root, device)
        yield write_plans(root, device), dataset_json


def write_dataset(root: Path, device: str) -> dict[str, Any]:
    """What nnU-Net's planner and the trainers read of a dataset before its images."""
    raw, preprocessed = root / "raw" / NAME, root / "preprocessed" / NAME
    cases = [f"case_{number:03}" for number in range(CASES[device])]
    dataset_json = {
        "channel_names": {str(channel): name for channel, name in enumerate(CHANNELS)},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": len(cases), "file_ending": ".nii.gz", "overwrite_image_reader_writer": "SimpleITKIO",
    }  # fmt: skip
    intensities = {"mean": 0.0, "std": 1.0, "median": 0.0, "min": -5.0, "max": 5.0}
    intensities |= {"percentile_00_5": -3.0, "percentile_99_5": 3.0}
    fingerprint = {
        "spacings": [SPACING] * len(cases), "shapes_after_crop": [SHAPE[device]] * len(cases),
        "foreground_intensity_properties_per_channel": {str(c): intensities for c in range(len(CHANNELS))},
        "median_relative_size_after_cropping": 1.0,
    }  # fmt: skip
    splits = [{"train": cases[fold::2], "val": cases[1 - fold :: 2]} for fold in (0, 1)]
    splits = [splits[fold % 2] for fold in range(FOLDS)]
    for case in cases:
        touch(raw / "labelsTr" / f"{case}.nii.gz")
        for channel in range(len(CHANNELS)):
            touch(raw / "imagesTr" / f"{case}_{channel:04}.nii.gz")
        for configuration in ("2d", "3d_fullres"):
            touch(preprocessed / f"nnUNetPlans_{configuration}" / f"{case}.b2nd")
    for path, content in (
        (raw / "dataset.json", dataset_json), (preprocessed / "dataset.json", dataset_json),
        (preprocessed / "dataset_fingerprint.json", fingerprint), (preprocessed / "splits_final.json", splits),
    ):  # fmt: skip
        path.write_text(json.dumps(content))
    rows = [f"{case},{number % 2}" for number, case in enumerate(cases)]
    (preprocessed / "tss.csv").write_text("\n".join(["case,tss_class", *rows, ""]))
    return dataset_json


def touch(path: Path) -> None:
    """An empty file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write_plans(root: Path, device: str) -> dict[str, Any]:
    """nnU-Net's plans for 8 GB, fitted to the branches by `mgcl plan`, which says how."""
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    from nnunet_mgcl.cli import main

    planner = ExperimentPlanner(NAME)
    if device == "cpu":
        planner.UNet_base_num_features = 4
    with contextlib.redirect_stdout(None):
        planner.plan_experiment()
    if status := main(["plan", "-d", NAME, "-c", "2d", "3d_fullres"]):
        raise RuntimeError(f"mgcl plan ended with {status}")
    return json.loads((root / "preprocessed" / NAME / f"{PLANS}.json").read_text())


def noise(batch: int, channels: int, shape: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Images `(B, C, ...)` and label maps `(B, 1, ...)`; every second sample has a bright lesion, in half of its z."""
    generator = torch.Generator(device).manual_seed(0)
    images = torch.randn(batch, channels, *shape, generator=generator, device=device)
    target = torch.zeros(batch, 1, *shape, dtype=torch.int16, device=device)
    inside = [slice(side // 4, side // 2) for side in shape[-2:]]
    depth = [slice(0, max(1, shape[0] // 2))] if len(shape) == 3 else []
    target[(slice(None, None, 2), slice(None), *depth, *inside)] = 1
    return images + 3 * target, target
