from __future__ import annotations

import os

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.data.pool.scan import scan_pool
from nnunet_mgcl.system.errors import UserError

MODALITIES = {"DWI": [2, 0], "FLAIR": [1]}


@pytest.fixture
def write(tmp_path):
    def write(name, size=(8, 8, 4), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
        image = sitk.GetImageFromArray(np.zeros(size[::-1], np.uint8))
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))

    return write


def test_name_that_is_no_text_is_refused(tmp_path, write, dataset_json):
    write("a_0001")
    (tmp_path / "a_0001.nii.gz").rename(tmp_path / os.fsdecode(b"M\xfcller_0001.nii.gz"))
    with pytest.raises(UserError, match="not UTF-8") as refusal:
        scan_pool(tmp_path, dataset_json, MODALITIES)
    assert str(refusal.value).encode()


def test_cases_are_found_by_modality_with_files_in_its_order(tmp_path, write, dataset_json):
    for name in ("a_0000", "a_0002", "a_0001", "b_0001", "c_x_0001"):
        write(name)
    (tmp_path / ".DS_Store").touch()
    found = scan_pool(tmp_path, dataset_json, MODALITIES)
    names = {m: {case: [path.name for path in paths] for case, paths in cases.items()} for m, cases in found.items()}
    assert names == {
        "DWI": {"a": ["a_0002.nii.gz", "a_0000.nii.gz"]},
        "FLAIR": {"a": ["a_0001.nii.gz"], "b": ["b_0001.nii.gz"], "c_x": ["c_x_0001.nii.gz"]},
    }


@pytest.mark.parametrize("name", ["a_1.nii.gz", "_0001.nii.gz", "a_seg_0001.nii.gz"])
def test_other_names_are_refused(tmp_path, dataset_json, name):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match="CASE_CCCC"):
        scan_pool(tmp_path, dataset_json, MODALITIES)


@pytest.mark.parametrize("grid", [{"size": (8, 8, 5)}, {"spacing": (1.0, 1.0, 2.0)}, {"origin": (0.0, 3.0, 0.0)}])
def test_channels_on_different_grids_are_refused(tmp_path, write, dataset_json, grid):
    write("a_0002")
    write("a_0000", **grid)
    with pytest.raises(UserError, match=r"a_0000\.nii\.gz"):
        scan_pool(tmp_path, dataset_json, MODALITIES)


def test_modalities_may_have_different_grids(tmp_path, write, dataset_json):
    write("a_0002")
    write("a_0000")
    write("a_0001", size=(4, 4, 4))
    assert set(scan_pool(tmp_path, dataset_json, MODALITIES)["FLAIR"]) == {"a"}
