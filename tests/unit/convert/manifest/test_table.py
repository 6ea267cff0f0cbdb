import os

import pytest

from nnunet_mgcl.convert.manifest.table import read_manifest
from nnunet_mgcl.system.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """A folder with files of the names that the manifests of these tests mention."""
    for name in ("a_dwi", "a_flair", "a_mask", "b_dwi", "b_flair", "b_mask", "odd#name"):
        (tmp_path / f"{name}.nii.gz").touch()
    (tmp_path / "dicom").mkdir()
    return tmp_path


@pytest.fixture
def read(folder):
    def read(text, log=lambda line: None):
        (folder / "manifest.csv").write_text(text)
        return read_manifest(folder / "manifest.csv", log)

    return read


def test_columns_become_channels_masks_and_times(read, folder):
    manifest = read(
        "case,FLAIR,DWI,mask,onset_time,scan_time,patient\n"
        "x,a_flair.nii.gz,a_dwi.nii.gz,a_mask.nii.gz,2024-03-01 07:30,2024-03-01 10:00,P\n"
        "\n"
        "y,,./b_dwi.nii.gz,,,,\n"
    )
    assert manifest.channels == ("FLAIR", "DWI")
    assert manifest.masks == ("",)
    x, y = manifest.rows
    assert x.channels == {c: str(folder / f"a_{c.lower()}.nii.gz") for c in ("FLAIR", "DWI")}
    assert (x.case, x.masks, x.tss_hours, x.patient) == ("x", {"": str(folder / "a_mask.nii.gz")}, 2.5, "P")
    assert (y.case, y.masks, y.tss_hours, y.patient) == ("y", {}, None, None)
    assert y.channels == {"DWI": str(folder / "b_dwi.nii.gz")}
    assert y.where.endswith("manifest.csv, line 4")


def test_a_mask_a_modality_may_be_empty_because_nothing_is_visible(read, folder):
    manifest = read("case,DWI,FLAIR,mask_DWI,mask_FLAIR\nx,a_dwi.nii.gz,a_flair.nii.gz,a_mask.nii.gz,empty\n")
    assert manifest.masks == ("DWI", "FLAIR")
    assert manifest.rows[0].masks == {"DWI": str(folder / "a_mask.nii.gz"), "FLAIR": None}


def test_a_counter_names_cases_and_says_so(read):
    lines = []
    manifest = read("case,DWI\n,a_dwi.nii.gz\nx,b_dwi.nii.gz\n", lines.append)
    assert [row.case for row in manifest.rows] == ["case_001", "x"]
    assert len(lines) == 1 and "case_001" in lines[0]


def test_a_source_may_be_a_dicom_folder_a_series_in_it_or_an_absolute_path(read, folder):
    rows = read(f"DWI\ndicom\ndicom#1.2.3\n{folder}/a_dwi.nii.gz\nodd#name.nii.gz\n").rows
    assert [row.channels["DWI"] for row in rows] == [
        str(folder / name) for name in ("dicom", "dicom#1.2.3", "a_dwi.nii.gz", "odd#name.nii.gz")
    ]


def test_two_dots_below_a_linked_folder_lead_where_the_system_says(read, folder):
    (folder / "disk" / "scans").mkdir(parents=True)
    (folder / "disk" / "x.nii.gz").touch()
    (folder / "disk" / "scans" / "y.nii.gz").symlink_to("../x.nii.gz")
    (folder / "x.nii.gz").touch()  # what erasing `link/..` from the text would lead to
    (folder / "link").symlink_to("disk/scans")
    rows = read("DWI\nlink/../x.nii.gz\nlink/y.nii.gz\nlink/..\n").rows
    assert [row.channels["DWI"] for row in rows] == [
        str(folder / path) for path in ("disk/x.nii.gz", "disk/scans/y.nii.gz", "disk")
    ]


DWI = "a_dwi.nii.gz"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column of a channel"),
        ("case,DWI\n", "no row"),
        (f"case;DWI\nx;{DWI}\n", "semicolons"),
        (f"case,DWI,dwi\nx,{DWI},b_dwi.nii.gz\n", "differ in more than case"),
        (f"case,DWI,\nx,{DWI},\n", "column ''"),
        (f"case,T max\nx,{DWI}\n", "column 'T max'"),
        (f"Case,DWI\nx,{DWI}\n", "did you mean 'case'"),
        (f"case,DWI,tss_hour\nx,{DWI},3\n", "did you mean 'tss_hours'"),
        (f"case,DWI,age\nx,{DWI},71\n", "line 2, column age"),
        (f"case,DWI,onset_time\nx,{DWI},2024-03-01 07:30\n", "one of onset_time and scan_time"),
        (f"case,DWI,onset_time,scan_time\nx,{DWI},2024-03-01 07:30,2024-03-01 07:00\n", "line 2\n.*after scan_time"),
        (f"case,DWI,onset_time,scan_time,tss_hours\nx,{DWI},,,3\n", "tss_hours beside"),
        (f"case,DWI,mask,mask_DWI\nx,{DWI},,a_mask.nii.gz\n", "mask and mask_DWI"),
        (f"case,DWI,mask_\nx,{DWI},a_mask.nii.gz\n", "column 'mask_'"),
        (f"case,DWI\nx,{DWI}\nx,b_dwi.nii.gz\n", "line 3.*\n.*case 'x', as in line 2"),
        (f"case,DWI\nx,{DWI}\nX,b_dwi.nii.gz\n", "case 'X', as in line 2"),
        *((f"case,DWI\n{case},{DWI}\n", f"line 2.*\n.*case '{case[:5]}") for case in ("x/y", ".x", "x" * 101, "x_seg")),
        *((f"case,DWI\n{case},{DWI}\n", f"'{case}'(.|\n)*as in x$") for case in ("x.nii", "x.NII.gz", "x.img")),
        ("case,DWI,FLAIR\nx,,\n", "no channel"),
        ("case,DWI\nx,nowhere.nii.gz\n", "no such file: .*nowhere.nii.gz"),
        ("case,DWI\nx,nowhere#1.2.3\n", "no such file: .*nowhere#1.2.3"),
        (f"case,DWI,mask\nx,{DWI},nowhere.nii.gz\n", "line 2, column mask"),
        (f"case,DWI,mask\nx,{DWI},dicom#1.2\n", "line 2, column mask"),
        (f"case,DWI\nx,{DWI}\ny,{DWI}\n", "as in .*line 2, column DWI"),
        (f"case,DWI,mask\nx,{DWI},{DWI}\n", "column mask.*\n.*as in .*column DWI"),
        (f"case,DWI,tss_hours\nx,{DWI},soon\n", "tss_hours 'soon'"),
        (f"case,DWI,patient\nx,{DWI},=1+1\n", "line 2, column patient"),
        (f"case,DWI,adc_unit\nx,{DWI},mm2\n", "line 2, column adc_unit.*\n.*'mm2'.*\n.*auto | mm2/s | 1e-3 | 1e-6"),
    ],
)
def test_what_is_wrong_is_refused_by_name(read, text, message):
    with pytest.raises(UserError, match=message) as error:
        read(text)
    assert "manifest.csv" in error.value.where


@pytest.mark.parametrize(
    "column",
    ["lesion", "Label", "seg", "ROI", "gt", "msk", "lesion_mask", "LesionMask", "Mask_FLAIR", "MASK", "roi2"],
)
def test_a_column_that_sounds_like_a_mask_is_no_channel(read, column):
    with pytest.raises(UserError, match="sounds like a mask") as error:
        read(f"case,DWI,{column}\nx,{DWI},a_mask.nii.gz\n")
    assert "mask_<MODALITY>" in error.value.remedy


@pytest.mark.parametrize("column", ["DWI", "mask"])
def test_a_pipe_is_no_scan(read, folder, column):
    """Nobody writes to it: the command would wait without end."""
    os.mkfifo(folder / "pipe.nii.gz")
    sources = {"DWI": "a_dwi.nii.gz", "mask": "a_mask.nii.gz"} | {column: "pipe.nii.gz"}
    with pytest.raises(UserError, match=rf"line 2, column {column}[\s\S]*pipe\.nii\.gz"):
        read(f"DWI,mask\n{sources['DWI']},{sources['mask']}\n")
