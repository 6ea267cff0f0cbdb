"""Test cases beside the training cases, and scans that come twice."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import SimpleITK as sitk

from nnunet_mgcl.system.errors import UserError


@pytest.fixture
def test_manifest(run, raw_scans) -> Path:
    path = raw_scans / "test.csv"
    path.write_text("case,DWI,ADC,FLAIR,mask,tss_hours\nt,t_dwi.nii.gz,t_adc.nii.gz,t_flair.nii.gz,,4\n")
    return path


def test_test_cases_join_the_dataset_and_stay_when_training_cases_change(run, test_manifest, raw_scans):
    with pytest.raises(UserError, match="no dataset that mgcl convert has finished"):
        run(manifest=test_manifest, test=True)
    run()
    before = run.files()
    assert run(manifest=test_manifest, test=True).complete
    added = ["imagesTs/t_0000.nii.gz", "imagesTs/t_0001.nii.gz", "imagesTs/t_0002.nii.gz"]
    assert [name for name in run.names() if name not in before] == added
    after = run.files()
    assert {name for name in before if after[name] != before[name]} == {"mgcl_convert/index.html"}
    os.utime(raw_scans / "a_dwi.nii.gz", (0, 0))
    assert run().converted == ["a"]
    assert [name for name in run.names() if "Ts" in name] == added
    assert not any("test cases" in line for line in run.lines)
    run(spacing=(4.0, 4.0, 6.0))
    assert any("1 test cases were prepared with other options" in line for line in run.lines)


def test_new_patients_come_one_by_one(run, test_manifest, raw_scans):
    run()
    run(manifest=test_manifest, test=True)
    for channel in ("dwi", "adc", "flair"):
        scan = sitk.ReadImage(str(raw_scans / f"t_{channel}.nii.gz"))
        sitk.WriteImage(sitk.Flip(scan, (True, False, False)), str(raw_scans / f"u_{channel}.nii.gz"))
    row = "{0},{1}_dwi.nii.gz,{1}_adc.nii.gz,{1}_flair.nii.gz\n"
    test_manifest.write_text("case,DWI,ADC,FLAIR\n" + row.format("u", "u"))
    assert run(manifest=test_manifest, test=True).removed == []
    assert {name[:10] for name in run.names() if "Ts" in name} == {"imagesTs/t", "imagesTs/u"}
    test_manifest.write_text("case,DWI,ADC,FLAIR\n" + row.format("v", "t"))
    assert "the same scan as case t" in str(run(manifest=test_manifest, test=True).failures["v"])
    for path in (run.dataset / "imagesTs").glob("t_*"):
        path.unlink()
    assert run(manifest=test_manifest, test=True).removed == ["t"]


def test_test_cases_are_prepared_as_the_training_cases_were(run, test_manifest):
    spacing = (4.0, 4.0, 6.0)
    run(spacing=spacing)
    with pytest.raises(UserError, match=r"--spacing(.|\n)*not given for the test cases(.|\n)*4.0 4.0 6.0"):
        run(manifest=test_manifest, test=True)
    with pytest.raises(UserError, match="--channels"):
        run(manifest=test_manifest, test=True, channels=("DWI", "FLAIR"), spacing=spacing)
    for row, message in (("a,t_dwi.nii.gz,t_adc.nii.gz", "a among training and test"), ("t,t_dwi.nii.gz,", "no ADC")):
        test_manifest.write_text(f"case,DWI,ADC,FLAIR\n{row},t_flair.nii.gz\n")
        with pytest.raises(UserError, match=message):
            run(manifest=test_manifest, test=True, spacing=spacing)


def test_masks_of_test_cases_have_the_form_of_the_training_cases(run, test_manifest):
    run()
    text = "case,DWI,ADC,FLAIR,{}\nt,t_dwi.nii.gz,t_adc.nii.gz,t_flair.nii.gz,{}\n"
    test_manifest.write_text(text.format("mask_DWI,mask_FLAIR", "t_mask.nii.gz,empty"))
    with pytest.raises(UserError, match="the masks of the test cases"):
        run(manifest=test_manifest, test=True)
    for columns, cells in (("mask_DWI,mask_FLAIR", ","), ("mask", "t_mask.nii.gz")):
        test_manifest.write_text(text.format(columns, cells))
        assert run(manifest=test_manifest, test=True).complete


class TestSameScanTwice:
    """Other names and other patients do not make other scans of them."""

    @pytest.fixture
    def row(self, raw_scans) -> str:
        """Case d is a copy of case a, of another patient; its DWI is stored otherwise."""
        for name in ("adc", "flair", "mask"):
            shutil.copy(raw_scans / f"a_{name}.nii.gz", raw_scans / f"d_{name}.nii.gz")
        sitk.WriteImage(sitk.ReadImage(str(raw_scans / "a_dwi.nii.gz")), str(raw_scans / "d_dwi.mha"))
        return "d,d_dwi.mha,d_adc.nii.gz,d_flair.nii.gz,d_mask.nii.gz,2.5,S\n"

    def test_the_case_that_was_there_stays(self, run, row):
        run()
        before = run.names()
        run.edit("\na,", f"\n{row}a,")
        assert list(run().failures) == ["d"]
        assert run.names() == before and run.json()["numTraining"] == 2
        run.edit(row, "")
        assert run().complete

    def test_a_test_case_is_compared_with_the_training_cases(self, run, row):
        run()
        tests = run.manifest.with_name("tests.csv")
        tests.write_text(run.manifest.read_text().splitlines()[0] + "\n" + row)
        assert "case a" in run(manifest=tests, test=True).failures["d"].found
