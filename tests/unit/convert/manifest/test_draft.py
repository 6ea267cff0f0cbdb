from __future__ import annotations

import csv

import pytest

from nnunet_mgcl.convert.manifest.draft import write_draft
from nnunet_mgcl.convert.manifest.table import read_manifest
from nnunet_mgcl.system.errors import UserError


@pytest.fixture
def draft(tmp_path, capsys):
    """Makes empty files below `scans` and drafts a manifest beside it; returns its rows and what was printed."""

    def draft(*names: str) -> tuple[list[dict[str, str]], str]:
        for name in names:
            (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "scans" / name).touch()
        write_draft(tmp_path / "scans", tmp_path / "manifest.csv")
        rows = list(csv.DictReader((tmp_path / "manifest.csv").open()))
        return [{key: value for key, value in row.items() if value} for row in rows], capsys.readouterr().out

    return draft


def test_flat_folder_is_grouped_by_the_beginning_of_the_names(draft, tmp_path):
    rows, printed = draft(
        "p01_dwi.nii.gz", "p01_ADC_map.nii.gz", "p01_t2_flair.nii.gz", "p01_lesion_mask.nii.gz", "p01_dwi.json",
        "FLAIR_p02.mha", "p02-DWI.nrrd", "p02_t1.nii", "notes.txt",
    )  # fmt: skip
    assert rows == [
        {
            "case": "case_001", "DWI": "scans/p01_dwi.nii.gz", "ADC": "scans/p01_ADC_map.nii.gz",
            "FLAIR": "scans/p01_t2_flair.nii.gz", "mask": "scans/p01_lesion_mask.nii.gz",
        },
        {"case": "case_002", "DWI": "scans/p02-DWI.nrrd", "FLAIR": "scans/FLAIR_p02.mha", "T1": "scans/p02_t1.nii"},
    ]  # fmt: skip
    header = (tmp_path / "manifest.csv").read_text().splitlines()[0]
    assert header == "case,patient,DWI,ADC,FLAIR,T1,mask,onset_time,scan_time"
    assert f"in no row: {tmp_path}/scans/notes.txt" in printed and ".json" not in printed
    assert printed.splitlines()[1] == "case_001  x    x    x          x     p01"
    assert "2 cases" in printed
    assert [row.case for row in read_manifest(tmp_path / "manifest.csv").rows] == ["case_001", "case_002"]


UUID = "0f3c1a52-{}-4a5b-9abc-0123456789ab.mha"
FOLDERS = {
    "a patient's, whatever the files are named": [
        {"DWI": "Miller/20240301_ep2d_diff_trace_5.nii.gz", "FLAIR": "Miller/20240301_t2_tirm_7.nii.gz"},
        {"DWI": "Smith/d/DWI/scan.nii.gz", "FLAIR": "Smith/d/FLAIR/scan.nii.gz", "mask": "Smith/d/masks/scan.nii.gz"},
    ],
    "flat": [{"DWI": "p1_dwi.nii"}, {"FLAIR": "p2_flair.nii"}],
    "of series below a patient's": [
        {"DWI": "p1/0003_x/dwi.nii", "FLAIR": "p1/0007_y/flair.nii", "": "p1/0007_y/brain_mask.nii",
         "mask": "p1/0007_y/roi.nii"},
    ],
    "of many patients": [
        {"DWI": "hospital/a_dwi.nii", "FLAIR": "hospital/a_flair.nii"},
        {"DWI": "hospital/b_dwi.nii", "FLAIR": "hospital/b_flair.nii"},
    ],
    "named after channels": [
        {"DWI": "DWI/p1.nii", "FLAIR": "FLAIR/p1.nii", "mask": "masks/p1.nii"}, {"DWI": "DWI/p2.nii"},
    ],
    "of masks named as their scans": [
        {"DWI": "images/p1_dwi.nii", "FLAIR": "images/p1_flair.nii", "mask": "lesions/p1_dwi.nii",
         "": "lesions/p1_brain.nii"},
    ],
    "of sessions": [
        {"DWI": "sub-1/ses-1/dwi/x_dwi.nii"},
        {"DWI": "sub-1/ses-2/dwi/x_dwi.nii", "mask": "derivatives/sub-1/ses-2/x_msk.nii"},
    ],
    "of masks of the modalities": [
        {"DWI": "p_dwi.nii", "FLAIR": "p_flair.nii", "mask_DWI": "p_dwi_mask.nii", "mask_FLAIR": "p_flair_mask.nii",
         "": "p_brain_mask.nii"},
    ],
    "of one mask named after a modality": [{"DWI": "p_dwi.nii", "mask": "p_dwi_mask.nii"}],
    "of scans before and after contrast": [{"T1": "p/T1pre_reg.nii.gz", "T1c": "p/T1post.nii.gz"}],
    "of UUIDs": [
        {kind.upper(): f"images/{kind}-brain-mri/{UUID.format(1111 * n)}" for n, kind in enumerate(("dwi", "adc"), 1)},
    ],
}  # fmt: skip
"""Rows of the draft; "": a file that is in none."""


@pytest.mark.parametrize("name", FOLDERS)
def test_scans_of_a_folder_become_rows(draft, name):
    rows, _ = draft(*(path for row in FOLDERS[name] for path in row.values()))
    assert rows == [
        {"case": f"case_{number:03d}"} | {column: f"scans/{path}" for column, path in row.items() if column}
        for number, row in enumerate(FOLDERS[name], start=1)
    ]


def test_two_scans_for_one_cell_are_left_to_the_user(draft):
    rows, printed = draft("p/dwi_1.nii", "p/dwi_1.mha", "p/flair_1.nii")
    assert rows == [{"case": "case_001", "FLAIR": "scans/p/flair_1.nii"}]
    assert "in no row" in printed and "dwi_1.nii" in printed and "dwi_1.mha" in printed


def test_kind_twice_in_every_case_is_said_with_its_places(draft):
    with pytest.raises(UserError) as error:
        draft("d/1_raw/sub-1_dwi.nii.gz", "d/2_pre/sub-1_dwi.nii.gz")
    for part in ("DWI 2 times in d/sub_1", "d/1_raw/sub-1_dwi.nii.gz", "d/2_pre/sub-1_dwi.nii.gz"):
        assert part in error.value.found
    _, printed = draft("d/3/sub-1_flair.nii.gz")
    assert "DWI 2 times in d/sub_1" in printed


def test_processed_copy_counts_only_where_the_scan_itself_is_missing(draft):
    name = "P-1_nifti/P-1_{}.nii.gz"
    kinds = ("FLAIR", "FLAIR_bias", "T1", "T1_bias", "T1c", "T1c_bias", "ADC_reg", "tumor_segmentation")
    rows, printed = draft(*map(name.format, kinds))
    wanted = {"FLAIR": "FLAIR", "T1": "T1", "T1c": "T1c", "ADC": "ADC_reg", "mask": "tumor_segmentation"}
    assert rows == [{"case": "case_001"} | {c: f"scans/{name.format(kind)}" for c, kind in wanted.items()}]
    assert printed.count("in no row") == printed.count("_bias.nii.gz") == 3


def test_uuids_of_several_patients_are_not_paired(draft):
    rows, _ = draft(*(f"{kind}/{UUID.format(n)}" for kind, n in (("dwi", 1111), ("dwi", 2222), ("adc", 3333))))
    assert sorted(sorted(row) for row in rows) == [["ADC", "case"], ["DWI", "case"], ["DWI", "case"]]


def test_mask_of_one_of_two_visits_is_said_with_their_rows(draft):
    rows, printed = draft("p/s1_FLAIR.nii", "p/s2_FLAIR.nii", "p/gt.nii", "q/s1_FLAIR.nii")
    assert [sorted(row) for row in rows] == [["FLAIR", "case"]] * 3
    line = next(line for line in printed.splitlines() if "p/gt.nii" in line)
    assert "case_001 or case_002" in line and "case_003" not in line


def test_files_that_are_no_scans_take_one_line(draft):
    _, printed = draft("p_dwi.nii", *(f"code/{n}.py" for n in range(200)), *(f"docs/{n}.md" for n in range(100)))
    lines = [line for line in printed.splitlines() if "in no row" in line]
    assert len(lines) == 1 and "297 more" in lines[0]


def test_dicom_series_are_told_by_their_description(tmp_path, capsys, write_series, values):
    scans = tmp_path / "scans"
    for number, description in enumerate(("ep2d_diff_TRACEW", "t2_tirm_dark-fluid", "localizer"), start=1):
        write_series(scans / "PAT1", values, series=f"1.2.{number}", **{"0008_103e": description})
    write_series(scans / "PAT2" / "S001", values, series="1.3.1", ending="", **{"0008_103e": "ep2d_diff_ADC"})
    (scans / "PAT2" / "README").write_text("text")
    write_draft(scans, tmp_path / "manifest.csv")
    assert (tmp_path / "manifest.csv").read_text().splitlines() == [
        "case,patient,DWI,ADC,FLAIR,onset_time,scan_time",
        "case_001,,scans/PAT1#1.2.1,,scans/PAT1#1.2.2,,",
        "case_002,,,scans/PAT2/S001,,,",
    ]
    printed = capsys.readouterr().out
    assert f"in no row: {scans}/PAT1#1.2.3" in printed and f"in no row: {scans}/PAT2/README" in printed
    assert printed.count("in no row") == 2


def test_paths_beside_the_manifest_s_folder_are_absolute(tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "p_dwi.nii").touch()
    write_draft(tmp_path / "scans", tmp_path / "elsewhere" / "manifest.csv")
    assert f"case_001,,{tmp_path}/scans/p_dwi.nii,," in (tmp_path / "elsewhere" / "manifest.csv").read_text()


@pytest.mark.parametrize("name", ["photo.nii", "brain_mask.nii", "notes.txt"])
def test_a_folder_without_a_known_scan_is_refused(draft, name):
    with pytest.raises(UserError, match="no scan whose kind its name tells"):
        draft(name)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        write_draft(tmp_path / "nowhere", tmp_path / "manifest.csv")
