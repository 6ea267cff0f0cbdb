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
        "sub-01/ses-A/anat/sub-01_ses-A_FLAIR.nii",
        "sub-01/ses-B/anat/sub-01_ses-B_T2w.nii.gz",
        "derivatives/lesions/sub-01/ses-A/sub-01_ses-A_msk.nii.gz",
        "participants.tsv",
    )
    lines: list[str] = []
    manifest = read_bids(folder, {}, lines.append)
    assert lines == [f"{folder}: 3 cases, 1 of them with a mask; DWI from *_dwi, FLAIR from *_flair, T2 from *_T2w"]
    assert (manifest.where, manifest.channels, manifest.masks) == (folder, ("DWI", "FLAIR", "T2"), ("",))
    assert table(manifest) == {
        "sub-01_ses-A": {
            "DWI": "sub-01_ses-A_dwi.nii.gz", "FLAIR": "sub-01_ses-A_FLAIR.nii", "": "sub-01_ses-A_msk.nii.gz",
        },
        "sub-01_ses-B": {"T2": "sub-01_ses-B_T2w.nii.gz"},
        "sub-02": {"FLAIR": "sub-02_FLAIR.nii.gz"},
    }  # fmt: skip
    assert [row.patient for row in manifest.rows] == ["01", "01", "02"]
    assert all(row.tss_hours is None and row.case in row.where for row in manifest.rows)
    assert all(Path(path).is_absolute() for row in manifest.rows for path in row.channels.values())


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


def test_what_fits_one_cell_twice_is_refused_by_name(touch):
    folder = touch("sub-01/dwi/sub-01_run-1_dwi.nii.gz", "sub-01/dwi/sub-01_run-2_dwi.nii.gz")
    message = refusal(folder)
    assert "sub-01\n" in message and "2 files for DWI: sub-01_run-1_dwi.nii.gz" in message
    manifest = read_bids(folder, {"DWI": "run-2_dwi"})
    assert table(manifest)["sub-01"] == {"DWI": "sub-01_run-2_dwi.nii.gz"} and manifest.masks == ()
    touch("derivatives/a/sub-01_mask.nii.gz", "derivatives/b/sub-01_mask.nii.gz")
    assert "2 files for the mask" in refusal(folder, DWI="run-2_dwi")


def test_a_suffix_or_folder_that_is_nowhere_is_refused_with_what_is_there(touch, tmp_path):
    assert "the suffixes there are: none" in refusal(touch("scan.nii.gz"))
    folder = touch("sub-01/dwi/sub-01_dwi.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz")
    assert "_flare.nii.gz; the suffixes there are: dwi, t1w" in refusal(folder, DWI="dwi", FLAIR="flare")
    assert "no such folder" in refusal(tmp_path / "nowhere")


@pytest.mark.skipif(not SCANS.is_dir(), reason="set MGCL_TEST_DATA to a folder that holds isles22")
def test_real_folder():
    manifest = read_bids(SCANS, {})
    assert manifest.channels == ("DWI", "ADC", "FLAIR")
    assert [len(row.channels) for row in manifest.rows] == [2, 2, 3] and all(row.masks for row in manifest.rows)
