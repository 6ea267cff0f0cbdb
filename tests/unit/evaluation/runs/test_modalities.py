from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_mgcl.evaluation.runs.modalities import summarise_modalities

LESION_LABELS = {"DWI": [1, 3], "PWI": [2, 3]}


def summary(folder, cases, ignore_label=None):
    """`cases`: name -> (labels of the reference, labels of the prediction)."""
    for case, rows in cases.items():
        for name, labels in zip(("reference", "prediction"), rows, strict=True):
            (folder / name).mkdir(exist_ok=True)
            image = sitk.GetImageFromArray(np.array(labels, np.uint8).reshape(1, 1, -1))
            sitk.WriteImage(image, str(folder / name / f"{case}.nii.gz"))
    return summarise_modalities(
        folder / "reference", folder / "prediction", ".nii.gz", SimpleITKIO(), LESION_LABELS, ignore_label
    )


def test_dice_is_that_of_each_modality_s_own_lesion_not_of_combinations(tmp_path) -> None:
    found = summary(tmp_path, {"a": ([0, 1, 2, 3, 3], [1, 1, 2, 3, 2])})
    assert found["cases"]["a"]["DWI"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["cases"]["a"]["PWI"] == 1


def test_case_without_a_lesion_has_no_dice_and_is_left_out_of_the_mean(tmp_path) -> None:
    found = summary(tmp_path, {"a": ([0, 1], [0, 1]), "b": ([0, 0], [0, 0]), "c": ([1, 1], [0, 0])})
    assert found["cases"]["b"] == {"DWI": None, "PWI": None}
    assert found["mean"] == {"DWI": 0.5, "PWI": None}


def test_ignored_voxels_do_not_count(tmp_path) -> None:
    found = summary(tmp_path, {"a": ([1, 0, 4, 4], [1, 0, 1, 3])}, ignore_label=4)
    assert found["cases"]["a"] == {"DWI": 1, "PWI": None}
