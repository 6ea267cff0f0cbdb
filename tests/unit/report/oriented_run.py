"""A run with one validated case and one new patient, whose files lie in a direction of choice."""

from __future__ import annotations

import json
from copy import deepcopy

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.evaluation.measures.segmentation import segmentation_metrics
from nnunet_mgcl.evaluation.runs.run import ValidatedRun

SHAPE, SPACING = (6, 20, 16), (4.0, 3.0, 8.0)
"""Upright `(Z, Y, X)`, and the voxel's x, y, z in mm."""
TURN = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
"""About the axis from foot to head."""
DIRECTIONS = {"LPS": None, "RAS": None, "PIR": None, "oblique": TURN}


def oriented(array: np.ndarray, direction: str) -> sitk.Image:
    """An upright array as a file of this direction holds it."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    if turn := DIRECTIONS[direction]:
        image.SetDirection(turn)
        return sitk.DICOMOrient(image, "SRA")
    return sitk.DICOMOrient(image, direction)


def volumes() -> tuple[np.ndarray, np.ndarray]:
    """A head whose brightest part is left, in front and above the middle; and that part."""
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[4, 5:8, 11:14] = 1
    image = np.zeros(SHAPE, np.float32)
    image[:, 2:-2, 2:-2] = 50
    return image + 100 * lesion, lesion


@pytest.fixture
def make_run(tmp_path, plans, dataset_json):
    """A run with a validated case, stored in a direction, and the content of its `evaluation.json`."""

    def make(direction="LPS", png=False, tss=None):
        ending, content = ".png" if png else ".nii.gz", deepcopy(plans)
        json_content = dataset_json | {"file_ending": ending}
        content["image_reader_writer"] = "NaturalImage2DIO" if png else "SimpleITKIO"
        layout = DatasetLayout("Dataset901_Tiny", tmp_path / "raw", tmp_path / "preprocessed")
        model = tmp_path / "MGCLTrainer__nnUNetPlans__2d"
        image, lesion = volumes()

        def write(path, array):
            path.parent.mkdir(parents=True, exist_ok=True)
            stored = sitk.GetImageFromArray(array[4].astype(np.uint8)) if png else oriented(array, direction)
            sitk.WriteImage(stored, str(path))

        for folder, name in (("imagesTr", "case_1"), ("imagesTs", "new_1")):
            for channel in range(3):
                write(layout.raw / folder / f"{name}_{channel:04}{ending}", image + channel)
        for folder in (layout.raw / "labelsTr", layout.preprocessed / "gt_segmentations", model / "fold_0/validation"):
            write(folder / f"case_1{ending}", lesion)
        write(tmp_path / "predicted" / f"new_1{ending}", lesion)
        (model / "dataset.json").write_text(json.dumps(json_content))
        (model / "plans.json").write_text(json.dumps(content))
        run = ValidatedRun(layout, model, [{"train": [], "val": ["case_1"]}], [0])
        spacing = (999, 1, 1) if png else SPACING[::-1]  # as nnU-Net reads them
        scores = segmentation_metrics(lesion > 0, lesion > 0, spacing, 2.0)
        case = {"case": "case_1", "fold": 0, "patient": "case_1", "tss_class": None, "probability": None} | (tss or {})
        return run, {"dataset": "Dataset901_Tiny", "cases": [case | {"targets": dict.fromkeys(run.targets, scores)}]}

    return make
