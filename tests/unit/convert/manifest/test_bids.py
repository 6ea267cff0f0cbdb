from __future__ import annotations

import os
from pathlib import Path

import pytest

from nnunet_mgcl.convert.manifest.bids import read_bids
from nnunet_mgcl.system.errors import UserError

SCANS = Path(os.environ.get("MGCL_TEST_DATA", "nowhere")) / "isles22"


@pytest.fixture
def touch(tmp_path):
    """Makes empty files; only names are looked at."""

    def touch(*names: str) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return touch


def refusal(folder, **suffixes) -> str:
    with pytest.raises(UserError) as error:
        read_bids(folder, suffixes)
    return str(error.value)


def table(manifest) -> dict[str, dict[str, str]]:
    """Case -> column -> file name."""
    return {
        row.case: {column: Path(path).name for column, path in (row.channels | row.masks).items()}
        for row in manifest.rows
    }


def test_subjects_and_sessions_become_rows(touch):
    folder = touch(
        "sub-02/anat/sub-02_FLAIR.nii.gz",
        "sub-01/ses-A/dwi/sub-01_ses-A_dwi.nii.gz",
        "sub-01/ses-A/dwi/sub-01_ses-A_dwi.bval",
        "sub-01/ses-A/dwi/sub-01_ses-A_dwi.json",
        "sub-01/ses-A/anat/sub-01_ses-A_FLAIR.nii",
        "sub-01/ses-B/anat/sub-01_ses-B_T2w.nii.gz",
        "derivatives/lesions/sub-01/ses-A/sub-01_ses-A_mask.nii.gz",
        "participants.tsv",
        "dataset_description.json",
    )
    lines: list[str] = []
    manifest = read_bids(folder, {}, lines.append)
    assert lines == [f"{folder}: 3 cases, 1 of them with a mask; DWI from *_dwi, FLAIR from *_flair, T2 from *_T2w"]
    assert (manifest.where, manifest.channels, manifest.masks) == (folder, ("DWI", "FLAIR", "T2"), ("",))
    assert table(manifest) == {
        "sub-01_ses-A": {
            "DWI": "sub-01_ses-A_dwi.nii.gz", "FLAIR": "sub-01_ses-A_FLAIR.nii", "": "sub-01_ses-A_mask.nii.gz",
        },
        "sub-01_ses-B": {"T2": "sub-01_ses-B_T2w.nii.gz"},
        "sub-02": {"FLAIR": "sub-02_FLAIR.nii.gz"},
    }  # fmt: skip
    assert [row.patient for row in manifest.rows] == ["01", "01", "02"]
    assert all(row.tss_hours is None and row.case in row.where for row in manifest.rows)
    assert all(
        Path(path).is_absolute() and Path(path).exists() for row in manifest.rows for path in row.channels.values()
    )


def test_folder_without_masks_has_no_mask_column(touch):
    assert read_bids(touch("sub-01/dwi/sub-01_dwi.nii.gz"), {}).masks == ()


def test_raw_layout_of_isles22(touch):
    name = "sub-strokecase0001_ses-0001"
    folder = touch(
        f"sub-strokecase0001/ses-0001/dwi/{name}_dwi.nii.gz",
        f"sub-strokecase0001/ses-0001/dwi/{name}_adc.nii.gz",
        f"sub-strokecase0001/ses-0001/anat/{name}_FLAIR.nii.gz",
        f"derivatives/sub-strokecase0001/ses-0001/{name}_msk.nii.gz",
    )
    manifest = read_bids(folder, {})
    assert manifest.channels == ("DWI", "ADC", "FLAIR")
    assert set(table(manifest)[name]) == {"DWI", "ADC", "FLAIR", ""}


def test_named_suffixes_replace_the_defaults_and_the_longest_counts(touch):
    folder = touch(
        "sub-01/dwi/sub-01_rec-TRACE_dwi.nii.gz",
        "sub-01/dwi/sub-01_rec-ADC_dwi.nii.gz",
        "sub-01/dwi/sub-01_dwi.nii.gz",
        "sub-01/anat/sub-01_FLAIR.nii.gz",
    )
    manifest = read_bids(folder, {"ADC": "rec-ADC_dwi", "TRACE": "rec-TRACE_dwi", "B": "dwi"})
    assert manifest.channels == ("ADC", "TRACE", "B")
    assert table(manifest)["sub-01"] == {
        "ADC": "sub-01_rec-ADC_dwi.nii.gz", "TRACE": "sub-01_rec-TRACE_dwi.nii.gz", "B": "sub-01_dwi.nii.gz",
    }  # fmt: skip


def test_maps_come_from_derivatives_too_scans_do_not(touch):
    folder = touch(
        "sub-01/dwi/sub-01_dwi.nii.gz",
        "derivatives/clean/sub-01/sub-01_dwi.nii.gz",
        "derivatives/maps/sub-01/sub-01_ADC.nii.gz",
        "derivatives/maps/sub-01/sub-01_Tmax.nii.gz",
        "derivatives/maps/sub-01/sub-01_space-MNI152NLin2009cAsym_Tmax.nii.gz",
        "sourcedata/sub-01/sub-01_FLAIR.nii.gz",
    )
    manifest = read_bids(folder, {})
    assert set(table(manifest)["sub-01"]) == {"DWI", "ADC", "Tmax"}
    assert "derivatives" not in manifest.rows[0].channels["DWI"]


def test_masks_of_no_lesion_are_passed_over(touch):
    folder = touch(
        "sub-01/dwi/sub-01_dwi.nii.gz",
        "derivatives/a/sub-01_desc-brain_mask.nii.gz",
        "derivatives/a/sub-01_label-GM_mask.nii.gz",
        "derivatives/a/sub-01_space-MNI152_mask.nii.gz",
        "derivatives/a/sub-01_hemisphere_mask.nii.gz",
        "derivatives/a/sub-01_space-TRACE_desc-lesion_mask.nii.gz",
    )
    assert table(read_bids(folder, {}))["sub-01"][""] == "sub-01_space-TRACE_desc-lesion_mask.nii.gz"


def test_several_runs_are_refused_by_name(touch):
    folder = touch("sub-01/dwi/sub-01_run-1_dwi.nii.gz", "sub-01/dwi/sub-01_run-2_dwi.nii.gz")
    message = refusal(folder)
    assert "sub-01\n" in message and "2 files for DWI: sub-01_run-1_dwi.nii.gz" in message
    assert "--suffix DWI=run-1_dwi" in message
    assert table(read_bids(folder, {"DWI": "run-2_dwi"}))["sub-01"] == {"DWI": "sub-01_run-2_dwi.nii.gz"}


def test_several_masks_are_refused(touch):
    folder = touch("sub-01/sub-01_dwi.nii.gz", "derivatives/a/sub-01_mask.nii.gz", "derivatives/b/sub-01_mask.nii.gz")
    assert "2 files for the mask" in refusal(folder)


def test_named_suffix_that_is_nowhere_is_refused_with_those_that_are_there(touch):
    folder = touch("sub-01/dwi/sub-01_dwi.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz")
    assert "no file that ends in _flare.nii.gz; the suffixes there are: dwi, t1w" in refusal(
        folder, DWI="dwi", FLAIR="flare"
    )


def test_folder_without_a_scan_is_refused(touch, tmp_path):
    assert "the suffixes there are: none" in refusal(touch("scan.nii.gz"))
    assert "no such folder" in refusal(tmp_path / "nowhere")


@pytest.mark.skipif(not SCANS.is_dir(), reason="set MGCL_TEST_DATA to a folder that holds isles22")
def test_real_folder():
    manifest = read_bids(SCANS, {})
    assert manifest.channels == ("DWI", "ADC", "FLAIR")
    assert [len(row.channels) for row in manifest.rows] == [2, 2, 3] and all(row.masks for row in manifest.rows)
