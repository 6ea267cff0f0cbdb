from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.evaluation.runs.modalities import summarise_modalities


@pytest.mark.parametrize(
    ("cases", "ignore_label", "expected", "means"),
    [
        ({"a": ([0, 1, 2, 3, 3], [1, 1, 2, 3, 2])}, None, {"a": {"DWI": 2 * 2 / (3 + 3), "PWI": 1}}, None),
        (
            {"a": ([0, 1], [0, 1]), "b": ([0, 0], [0, 0]), "c": ([1, 1], [0, 0])}, None,
            {"b": {"DWI": None, "PWI": None}}, {"DWI": 0.5, "PWI": None},
        ),
        ({"a": ([1, 0, 4, 4], [1, 0, 1, 3])}, 4, {"a": {"DWI": 1, "PWI": None}}, None),
    ],
    ids=["of the own lesion, not of combinations", "left out without a lesion", "without ignored voxels"],
)  # fmt: skip
def test_dice_of_a_modality(tmp_path, cases, ignore_label, expected, means) -> None:
    """`cases`: name -> (labels of the reference, labels of the prediction)."""
    for (case, rows), number in product(cases.items(), (0, 1)):
        path = tmp_path / ("reference", "prediction")[number] / f"{case}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(np.array(rows[number], np.uint8).reshape(1, 1, -1)), str(path))
    folders = (tmp_path / "reference", tmp_path / "prediction")
    found = summarise_modalities(
        *folders, ".nii.gz", SimpleITKIO(), {"DWI": [1, 3], "PWI": [2, 3]}, ignore_label, Incomplete()
    )
    assert {case: found["cases"][case] for case in expected} == expected
    assert means is None or found["mean"] == means
