from __future__ import annotations

import csv
from pathlib import Path

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
    assert printed.splitlines()[:3] == [
        "case      DWI  ADC  FLAIR  T1  mask  from",
        "case_001  x    x    x          x     p01",
        "case_002  x         x      x         p02",
    ]
    assert "2 cases" in printed


def test_folder_of_a_patient_is_a_case_whatever_the_files_are_named(draft):
    rows, _ = draft(
        "Miller/20240301_ep2d_diff_trace_5.nii.gz", "Miller/20240301_t2_tirm_7.nii.gz",
        "Smith/day1/DWI/scan.nii.gz", "Smith/day1/FLAIR/scan.nii.gz", "Smith/day1/masks/scan.nii.gz",
    )  # fmt: skip
    assert [sorted(row) for row in rows] == [["DWI", "FLAIR", "case"], ["DWI", "FLAIR", "case", "mask"]]
    assert all("Miller" not in row["case"] and "Smith" not in row["case"] for row in rows)
    assert rows[1]["mask"] == "scans/Smith/day1/masks/scan.nii.gz"


def test_patients_of_a_flat_folder_are_not_mixed(draft):
    assert [sorted(row) for row in draft("p1_dwi.nii", "p2_flair.nii")[0]] == [["DWI", "case"], ["FLAIR", "case"]]


def test_folders_below_a_patient_s_belong_to_the_patient(draft):
    rows, _ = draft("p1/0003_x/dwi.nii", "p1/0007_y/flair.nii", "p1/0007_y/brain_mask.nii", "p1/0007_y/roi.nii")
    assert [sorted(row) for row in rows] == [["DWI", "FLAIR", "case", "mask"]]
    assert rows[0]["mask"].endswith("roi.nii")


def test_brain_mask_is_no_lesion(draft):
    rows, printed = draft("p1/dwi.nii", "p1/brain_mask.nii")
    assert "mask" not in rows[0] and "brain_mask.nii" in printed


def test_folder_of_many_patients_is_split_by_the_names(draft):
    rows, _ = draft("hospital/a_dwi.nii", "hospital/a_flair.nii", "hospital/b_dwi.nii", "hospital/b_flair.nii")
    assert [(row["DWI"], row["FLAIR"]) for row in rows] == [
        (f"scans/hospital/{case}_dwi.nii", f"scans/hospital/{case}_flair.nii") for case in "ab"
    ]


def test_folders_named_after_channels_are_joined(draft):
    rows, _ = draft("DWI/p1.nii", "DWI/p2.nii", "FLAIR/p1.nii", "masks/p1.nii")
    assert rows[0] == {
        "case": "case_001", "DWI": "scans/DWI/p1.nii", "FLAIR": "scans/FLAIR/p1.nii", "mask": "scans/masks/p1.nii",
    }  # fmt: skip
    assert rows[1] == {"case": "case_002", "DWI": "scans/DWI/p2.nii"}


def test_masks_may_be_named_as_their_scans_are(draft):
    rows, _ = draft("images/p1_dwi.nii", "images/p1_flair.nii", "lesions/p1_dwi.nii", "lesions/p1_brain.nii")
    assert rows == [
        {
            "case": "case_001", "DWI": "scans/images/p1_dwi.nii", "FLAIR": "scans/images/p1_flair.nii",
            "mask": "scans/lesions/p1_dwi.nii",
        }
    ]  # fmt: skip


def test_sessions_are_cases_of_their_own(draft):
    rows, _ = draft("sub-1/ses-1/dwi/x_dwi.nii", "sub-1/ses-2/dwi/x_dwi.nii", "derivatives/sub-1/ses-2/x_msk.nii")
    assert [row.get("mask") for row in rows] == [None, "scans/derivatives/sub-1/ses-2/x_msk.nii"]


def test_masks_of_the_modalities_have_a_column_each(draft):
    rows, _ = draft("p_dwi.nii", "p_flair.nii", "p_dwi_mask.nii", "p_flair_mask.nii", "p_brain_mask.nii")
    assert rows[0]["mask_DWI"].endswith("p_dwi_mask.nii") and rows[0]["mask_FLAIR"].endswith("p_flair_mask.nii")
    assert "mask" not in rows[0]


def test_one_mask_named_after_a_modality_is_the_mask(draft):
    assert draft("p_dwi.nii", "p_dwi_mask.nii")[0][0]["mask"] == "scans/p_dwi_mask.nii"


def test_two_scans_for_one_cell_are_left_to_the_user(draft):
    rows, printed = draft("p/dwi_1.nii", "p/dwi_1.mha", "p/flair_1.nii")
    assert rows == [{"case": "case_001", "FLAIR": "scans/p/flair_1.nii"}]
    assert "in no row" in printed and "dwi_1.nii" in printed and "dwi_1.mha" in printed


def test_kind_twice_in_every_case_is_said_with_its_places(draft, tmp_path):
    with pytest.raises(UserError) as error:
        draft("d/1_raw/sub-1_dwi.nii.gz", "d/2_pre/sub-1_dwi.nii.gz")
    for part in ("DWI 2 times in d/sub_1", "d/1_raw/sub-1_dwi.nii.gz", "d/2_pre/sub-1_dwi.nii.gz"):
        assert part in error.value.found
    assert "move the copies" in error.value.remedy
    _, printed = draft("d/3/sub-1_flair.nii.gz")
    assert "DWI 2 times in d/sub_1" in printed


def test_processed_copy_counts_only_where_the_scan_itself_is_missing(draft):
    name = "P-1_nifti/P-1_{}.nii.gz"
    kinds = ("FLAIR", "FLAIR_bias", "T1", "T1_bias", "T1c", "T1c_bias", "ADC_reg", "tumor_segmentation")
    rows, printed = draft(*map(name.format, kinds))
    wanted = {"FLAIR": "FLAIR", "T1": "T1", "T1c": "T1c", "ADC": "ADC_reg", "mask": "tumor_segmentation"}
    assert rows == [{"case": "case_001"} | {c: f"scans/{name.format(kind)}" for c, kind in wanted.items()}]
    assert (
        sorted(line.rpartition("_")[2] for line in printed.splitlines() if "in no row" in line) == ["bias.nii.gz"] * 3
    )


def test_scans_before_and_after_contrast_are_two_kinds(draft):
    rows, _ = draft("p/T1pre_reg.nii.gz", "p/T1post.nii.gz")
    assert (rows[0]["T1"], rows[0]["T1c"]) == ("scans/p/T1pre_reg.nii.gz", "scans/p/T1post.nii.gz")


def test_names_that_are_uuids_divide_no_case(draft):
    uuid = "0f3c1a52-{}-4a5b-9abc-0123456789ab.mha"
    names = [f"images/{kind}-brain-mri/{uuid.format(n)}" for kind, n in (("dwi", 1111), ("adc", 2222), ("flair", 3333))]
    rows, _ = draft(*names)
    assert [list(row) for row in rows] == [["case", "DWI", "ADC", "FLAIR"]]


def test_uuids_of_several_patients_are_not_paired(draft):
    uuid = "0f3c1a52-{}-4a5b-9abc-0123456789ab.mha"
    rows, _ = draft(*(f"{kind}/{uuid.format(n)}" for kind, n in (("dwi", 1111), ("dwi", 2222), ("adc", 3333))))
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
    write_series(scans / "PAT1", values, series="1.2.1", **{"0008_103e": "ep2d_diff_TRACEW"})
    write_series(scans / "PAT1", values, series="1.2.2", **{"0008_103e": "t2_tirm_dark-fluid"})
    write_series(scans / "PAT1", values, series="1.2.3", **{"0008_103e": "localizer"})
    write_series(scans / "PAT2" / "S001", values, series="1.3.1", ending="", **{"0008_103e": "ep2d_diff_ADC"})
    (scans / "PAT2" / "README").write_text("text")
    write_draft(scans, tmp_path / "manifest.csv")
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    assert lines == [
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


def test_untouched_draft_is_a_manifest(draft, tmp_path):
    draft("p01_dwi.nii.gz", "p01_dwi_mask.nii.gz", "p01_flair_mask.nii.gz", "p01_flair.nii.gz", "p02_flair.nii.gz")
    manifest = read_manifest(tmp_path / "manifest.csv")
    assert manifest.channels == ("DWI", "FLAIR") and manifest.masks == ("DWI", "FLAIR")
    assert [sorted(row.channels) for row in manifest.rows] == [["DWI", "FLAIR"], ["FLAIR"]]
    assert manifest.rows[0].tss_hours is None and manifest.rows[0].patient is None


def test_manifest_is_never_overwritten(tmp_path, draft):
    (tmp_path / "manifest.csv").write_text("mine")
    with pytest.raises(UserError, match="existing file"):
        draft("p_dwi.nii")
    assert (tmp_path / "manifest.csv").read_text() == "mine"


def test_folder_without_a_known_scan_is_refused(tmp_path, draft):
    with pytest.raises(UserError, match="no scan whose kind"):
        draft("scan1.nii.gz", "lesion_mask.nii.gz")
    with pytest.raises(UserError, match="no such folder"):
        write_draft(Path(tmp_path / "nowhere"), tmp_path / "manifest.csv")
    assert not (tmp_path / "manifest.csv").exists()
