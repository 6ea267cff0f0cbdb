from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.inference.missing import Missing, roles_of, stand_ins
from nnunet_mgcl.mismatch.roles import Roles
from nnunet_mgcl.system.errors import UserError

MODALITIES = {"DWI": [0, 1], "FLAIR": [2], "PWI": [3]}
TARGETS = {"DWI": [1, 3, 5, 7], "FLAIR": [2, 3, 6, 7], "PWI": [4, 5, 6, 7]}


@pytest.mark.parametrize(
    ("present", "channels", "masks"),
    [
        (["DWI", "FLAIR"], {"ADC": 1, "FLAIR": 2}, ["DWI", "FLAIR"]),
        (["DWI", "PWI"], {"ADC": 1, "Tmax": 3}, ["DWI", "PWI"]),
        (["FLAIR"], {"FLAIR": 2}, ["FLAIR"]),
    ],
)
def test_the_mismatch_uses_what_is_there(present, channels, masks) -> None:
    whole = Roles({"ADC": 1, "FLAIR": 2, "Tmax": 3}, dict(TARGETS))
    found = roles_of(whole, TARGETS, Missing(MODALITIES, (), True), present)
    assert found == Roles(channels, {name: TARGETS[name] for name in masks})
    shared = Roles({"ADC": 1}, {"DWI": [1]})
    assert roles_of(shared, {"lesion": [1]}, Missing(MODALITIES, (), True), ["DWI"]) == shared


def test_empty_images_lie_where_the_others_do(tmp_path) -> None:
    image = sitk.GetImageFromArray(np.ones((3, 4, 5), np.float32))
    image.SetSpacing((1.0, 2.0, 6.0))
    image.SetOrigin((-7.0, 3.0, 1.5))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    own = tmp_path / "case_a_0002.nii.gz"
    sitk.WriteImage(image, str(own))
    (tmp_path / "empty").mkdir()
    files = stand_ins({2: own}, range(4), tmp_path / "empty", ".nii.gz")
    assert [path.name for path in files] == [f"case_a_{channel:04}.nii.gz" for channel in range(4)] and files[2] == own
    for path in (files[0], files[3]):
        empty = sitk.ReadImage(str(path))
        assert not sitk.GetArrayFromImage(empty).any() and empty.GetSize() == image.GetSize()
        for geometry in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(empty, geometry)() == pytest.approx(getattr(image, geometry)())


@pytest.mark.parametrize(
    ("left_out", "reader", "told"),
    [(["PWJ"], "SimpleITKIO", "did you mean 'PWI'"), ([*MODALITIES], "SimpleITKIO", "every modality"),
     (["PWI"], "NaturalImage2DIO", "NaturalImage2DIO")],
)  # fmt: skip
def test_wishes_that_cannot_be_met_are_refused(left_out, reader, told) -> None:
    with pytest.raises(UserError) as refusal:
        Missing(MODALITIES, left_out).check(reader)
    assert told in str(refusal.value)
