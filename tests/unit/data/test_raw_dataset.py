from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.data.raw_dataset import read_dataset
from nnunet_mgcl.system.errors import UserError
from tests.conftest import TINY_CASES, TINY_POOL, write_image


@pytest.fixture
def raw(tiny_dataset):
    """With a labelled and an unlabelled test case."""
    folder = tiny_dataset.raw
    for case in ("new_1", "new_2"):
        for channel in range(3):
            write_image(folder / "imagesTs" / f"{case}_{channel:04}.nii.gz", np.full((6, 32, 32), channel, np.float32))
    write_image(folder / "labelsTs" / "new_2.nii.gz", np.ones((6, 32, 32), np.uint8))
    return folder


def test_cases_have_their_files_and_times(raw) -> None:
    found = read_dataset(raw)
    assert found.channels == {0: "DWI", 1: "FLAIR", 2: "PWI"} and found.targets["PWI"] == [4, 5, 6, 7]
    assert [case.name for case in found.training] == TINY_CASES
    assert [case.tss_hours for case in found.training] == [1, 2, 3, 6, 8, None]
    assert [case.tss_class for case in found.training] == [1, 1, 1, 0, 0, None]
    first = found.training[0]
    assert first.images == {n: raw / "imagesTr" / f"case_0_{n:04}.nii.gz" for n in range(3)}
    assert (first.label, first.patient) == (raw / "labelsTr" / "case_0.nii.gz", "case_0")
    assert {case.name: list(case.images) for case in found.pool} == TINY_POOL
    assert {case.name: case.label and case.label.name for case in found.test} == {
        "new_1": None,
        "new_2": "new_2.nii.gz",
    }


def test_case_that_lacks_a_modality_has_no_file_of_it(raw) -> None:
    content = json.loads((raw / "dataset.json").read_text())
    content["mgcl"]["missing"] = {"case_1": ["PWI", "DWI"]}
    (raw / "dataset.json").write_text(json.dumps(content))
    found = {case.name: case for case in read_dataset(raw).training}
    assert found["case_1"].missing == ("DWI", "PWI") and list(found["case_1"].images) == [1]
    assert found["case_0"].missing == () and list(found["case_0"].images) == [0, 1, 2]


def test_images_and_labels_are_read_as_nnunet_reads_them(raw) -> None:
    found = read_dataset(str(raw))
    image, spacing = found.read_image(found.training[2])
    files = found.training[2].images.values()
    np.testing.assert_array_equal(image, [sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files])
    assert spacing == (6.0, 3.0, 3.0)
    labels = found.read_label(found.training[2])
    assert labels.shape == (6, 32, 32) and labels.dtype.kind == "i"
    np.testing.assert_array_equal(labels, sitk.GetArrayFromImage(sitk.ReadImage(str(found.training[2].label))))
    assert found.read_image(found.pool[1])[0].shape == (3, 6, 32, 32)
    assert found.read_image(next(case for case in found.pool if case.name == "pool_2"))[0].shape == (2, 6, 32, 32)


def test_number_and_name_lead_to_nnunet_raw(raw, monkeypatch) -> None:
    monkeypatch.setenv("nnUNet_raw", str(raw.parent))
    assert read_dataset(901) == read_dataset("901") == read_dataset("Dataset901_Tiny") == read_dataset(raw)
    monkeypatch.delenv("nnUNet_raw")
    with pytest.raises(UserError, match="nnUNet_raw"):
        read_dataset(901)


def test_patients_and_classes_of_a_table(raw) -> None:
    (raw / "tss.csv").write_text("case,tss_class,patient\ncase_0,1,A\ncase_3,0,A\n")
    (
        first,
        *_,
    ) = read_dataset(raw).training
    assert (first.tss_class, first.tss_hours, first.patient) == (1, None, "A")
    (raw / "tss.csv").unlink()
    assert {case.tss_class for case in read_dataset(raw).training} == {None}


def test_files_that_dataset_json_lists_are_found(raw) -> None:
    content = json.loads((raw / "dataset.json").read_text())
    images = [f"imagesTr/case_1_{channel:04}.nii.gz" for channel in range(3)]
    content["dataset"] = {"case_0": {"images": images, "label": "labelsTr/case_1.nii.gz"}}
    (raw / "tss.csv").unlink()
    (raw / "dataset.json").write_text(json.dumps(content))
    (case,) = read_dataset(raw).training
    assert (case.name, case.label.name) == ("case_0", "case_1.nii.gz")
    assert [path.name for path in case.images.values()] == [name.split("/")[1] for name in images]


def test_what_is_no_dataset_is_refused(raw) -> None:
    def refused(message, where=raw) -> None:
        with pytest.raises(UserError, match=message):
            read_dataset(where)

    refused("no such folder", raw / "nowhere")
    refused(r"dataset\.json", raw / "imagesTr")
    (raw / "labelsTr" / "case_1.nii.gz").unlink()
    refused(r"no case_1\.nii\.gz")
    (raw / "imagesTr" / "case_0_0001.nii.gz").unlink()
    refused(r"case case_0\n  found:    channels \[0, 2\]")


def test_what_cannot_be_read_is_refused(raw) -> None:
    found = read_dataset(raw)
    with pytest.raises(UserError, match="no label map"):
        found.read_label(found.test[0])
    for path in (found.training[0].images[1], found.training[0].label):
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be read"):
        found.read_label(found.training[0])
    with pytest.raises(UserError, match="cannot be read"):
        found.read_image(found.training[0])
