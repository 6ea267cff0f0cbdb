"""A tiny phantom and what the commands make of it, for the files of this folder."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

NAME = "Dataset501_Phantom"
MODEL = ("-d", 501, "-c", "2d", "-p", "MGCLPlans_demo")


def make_phantom(root: Path, call: Callable[..., str], cases: int, unlabelled: int, test: int) -> Path:
    """Writes the raw dataset and returns its folder."""
    numbers = ("--cases", cases, "--unlabelled", unlabelled, "--test", test, "--matrix", 32, "--slices", 6)
    call(root, "mgcl", "phantom", "-o", root / "raw", *numbers)
    return root / "raw" / NAME


def plan(root: Path, call: Callable[..., str], *values: str) -> None:
    """nnU-Net's plans and preprocessing, and the demo's plan with these values."""
    call(root, "nnUNetv2_plan_and_preprocess", "-d", 501, "-c", "2d", "-np", 1, "-npfp", 1)
    call(root, "mgcl", "plan", "-d", 501, "-c", "2d", "--preset", "demo", "--set", *values)


def train(fold: object, trainer: str = "MGCLTrainer", *words: object) -> tuple[object, ...]:
    """The command that trains a fold."""
    return ("nnUNetv2_train", 501, "2d", fold, "-tr", trainer, "-p", "MGCLPlans_demo", "-device", "cpu", *words)


def images(root: Path) -> Path:
    """The test cases."""
    return root / "raw" / NAME / "imagesTs"


def model(root: Path, trainer: str = "MGCLTrainer", results: str = "res") -> Path:
    """The results folder."""
    return root / results / NAME / f"{trainer}__MGCLPlans_demo__2d"


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table, or of a folder's `tss.csv`."""
    with (path / "tss.csv" if path.is_dir() else path).open() as file:
        return list(csv.DictReader(file))


def voxels(path: Path) -> np.ndarray:
    """An image's `(Z, Y, X)`."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def assert_same_segmentations(folder: Path, other: Path, count: int = 3) -> None:
    """The same cases, voxel by voxel and on the same grid."""
    names = sorted(path.name for path in folder.glob("*.nii.gz"))
    assert names == sorted(path.name for path in other.glob("*.nii.gz")) and len(names) == count
    for name in names:
        one, two = (sitk.ReadImage(str(each / name)) for each in (folder, other))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(two))
        assert one.GetOrigin() == two.GetOrigin() and one.GetDirection() == two.GetDirection()
