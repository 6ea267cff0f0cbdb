"""The command on the scans of `raw_scans`. Worker processes are tested in tests/unit/convert/test_workers.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.cli import main
from nnunet_mgcl.convert.case import convert_case
from nnunet_mgcl.system.files import write_text
from nnunet_mgcl.system.workers import run_here

OPTIONS = ("--id", "7", "--name", "Bad", "--reference", "none", "-np", "1")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    def convert_cases(jobs, processes):
        return ((job.row.case, run_here(convert_case, job)) for job in jobs)

    monkeypatch.setattr("nnunet_mgcl.convert.run.convert_cases", convert_cases)


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr("nnunet_mgcl.convert.case.draw_case", lambda path, *_, **__: write_text(path, "picture"))


@pytest.fixture
def convert(raw_scans, tmp_path) -> Callable[..., int]:
    def convert(*options: object) -> int:
        words = ("-i", raw_scans / "manifest.csv", "-o", tmp_path / "raw", *OPTIONS, *options)
        return main(["convert", *map(str, words)])

    return convert


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "manifest.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_writes_a_dataset_and_says_what_it_did(convert, tmp_path, capsys):
    assert convert() == 0
    dataset = tmp_path / "raw" / "Dataset007_Bad"
    assert len(list((dataset / "imagesTr").iterdir())) == 6
    page = dataset / "mgcl_convert" / "index.html"
    assert page.is_file()
    assert (page.parent / "cases" / "a.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "2 labelled, 1 in the pool (3 converted, 0 unchanged, 0 removed)" in printed
    assert str(page) in printed
    assert convert() == 0
    assert "(0 converted, 3 unchanged, 0 removed)" in capsys.readouterr().out


NOTHING = ("", "")
MANIFEST = "manifest.csv"
BEFORE_ANY_WORK = {
    "a missing file": (("a_dwi", "gone"), (), "line 2, column DWI", "no such file", "a file", "mend the path"),
    "a missing mask": (("a_mask.nii.gz", "gone.nii.gz"), (), "column mask", "no such file", "a file", "`empty`"),
    "a case twice": (("\nb,", "\na,"), (), "line 3", "case 'a', as in line 2", "a case of its own", "rename"),
    "a scan twice": (("b_dwi", "a_dwi"), (), "line 3, column DWI", "as in", "a file of its own", "mend"),
    "onset after scan": (
        ("tss_hours", "onset_time,scan_time"), (), "line 2", "after scan_time", "an onset before", "swap",
    ),
    "an unknown form of a time": (
        ("tss_hours", "scan_time,onset_time"), (), "line 2", "'1.3.2024 7:30'", "2024-03-01 07:30", "write it so",
    ),
    "hours that are none": ((",2.5,", ",later,"), (), "line 2", "'later'", "0 to 168", "leave the cell empty"),
    "a misspelt column": (("tss_hours", "tss-hours"), (), "line 1", "'tss-hours'", "a channel, or", "'tss_hours'"),
    "a column of nothing known": (("tss_hours", "age"), (), "line 2, column age", "2.5", "a file", "mend the path"),
    "no channel at all": (("c,,,c_flair.nii.gz", "c,,,"), (), "line 4", "no channel", "one scan", "remove the row"),
    "semicolons": ((",", ";"), (), MANIFEST, "semicolons", "commas", "in a text editor"),
    "a mask without all channels": (
        ("a_adc.nii.gz", ""), (), MANIFEST, "ADC (line 2, case a)", "every channel", "--incomplete pool",
    ),
    "a part of a modality": (
        ("c,,,", "c,,c_adc.nii.gz,"), (), MANIFEST, "DWI without DWI", "all channels of", "--incomplete pool",
    ),
    "a mask for no modality": (
        (",mask,", ",mask_DIW,"), (), "line 1", "mask_DIW", "masks of DWI, FLAIR", "'DWI'",
    ),
    "no mask for a modality": ((",mask,", ",mask_DWI,"), (), "line 1", "no column mask_FLAIR", "every modality", "add"),
    "no such manifest": (NOTHING, ("-i", "none.csv"), "none.csv", "No such file", "the manifest", "check the path"),
    "no such reference": (NOTHING, ("--reference", "FLIAR"), "--reference", "'FLIAR'", "DWI | ADC", "'FLAIR'"),
    "no such channel": (NOTHING, ("--channels", "DW"), "--channels", "'DW'", MANIFEST, "'DWI'"),
    "an incomplete grouping": (NOTHING, ("--modality", "X=DWI,ADC"), "--modality", "DWI, ADC", "FLAIR", "name them"),
    "a misspelt kind": (
        ("DWI,ADC,", "DWI,ACD,"), (), MANIFEST, "channel 'ACD'", "a known kind", "did you mean ADC? Where the name is",
    ),
    "a misspelt kind as a name": (NOTHING, ("--as-named", "ADX"), "--as-named", "'ADX'", MANIFEST, "'ADC'"),
    "two labels of a value": (NOTHING, ("--labels", "a=1", "b=1"), "--labels", "1", "different", "its own value"),
    "any label beside another": (NOTHING, ("--labels", "a=any", "b=1"), "--labels", "a=any b=1", "one label", "any"),
    "labels without a value": (NOTHING, ("--labels", "a"), "--labels", "'a'", "NAME=VALUE", "mend"),
    "to accept what is not there": (NOTHING, ("--accept", "aa"), "--accept", "'aa'", "a case of", "'a'"),
    "no spacing": (NOTHING, ("--spacing", "1", "0", "6"), "--spacing", "0.0", "three lengths", "1 1 6"),
    "a spacing that is none": (NOTHING, ("--spacing", "1", "nan", "6"), "--spacing", "nan", "three lengths", "1 1 6"),
    "metres for spacing": (NOTHING, ("--spacing", "1e-3", "1e-3", "6"), "--spacing", "0.001", "three lengths", "1 1 6"),
    "an endless spacing": (NOTHING, ("--spacing", "1", "1", "inf"), "--spacing", "inf", "three lengths", "1 1 6"),
    "a shift that is none": (NOTHING, ("--max-shift", "nan"), "--max-shift", "nan", "mm above 0", "another number"),
    "an endless shift": (NOTHING, ("--max-shift", "inf"), "--max-shift", "inf", "mm above 0", "another number"),
    "no rotation": (NOTHING, ("--max-rotation", "0"), "--max-rotation", "0.0", "degrees above 0", "another number"),
    "nnU-Net's background": (NOTHING, ("--labels", "background=2"), "--labels", "background", "other than", "leave it"),
    "nnU-Net's ignore": (NOTHING, ("--labels", "ignore=2"), "--labels", "ignore=2", "other than", "another name"),
    "a file for a folder": (NOTHING, ("-o", __file__), "test_convert.py", "a file", "a folder", "another -o"),
    "a file above the folder": (NOTHING, ("-o", f"{__file__}/raw"), "test_convert.py", "a file", "a folder", "another"),
    "a number out of range": (NOTHING, ("--id", "1000"), "--id", "1000", "1 to 999", "another number"),
    "a name with a slash": (NOTHING, ("--name", "a/b"), "--name", "'a/b'", "letters", "another name"),
    "no process": (NOTHING, ("-np", "0"), "-np", "0", "at least 1", "another number"),
    "a pool of test cases": (
        NOTHING, ("--test", "--incomplete", "pool"), "--incomplete pool", "with --test", "every channel", "remove one",
    ),
    "suffixes without BIDS": (NOTHING, ("--suffix", "DWI=dwi"), "--suffix", "without --bids", "BIDS", "remove it"),
}  # fmt: skip
TIMES = {
    "onset after scan": "2024-03-01 09:00,2024-03-01 08:00",
    "an unknown form of a time": "2024-03-01 09:00,1.3.2024 7:30",
}


@pytest.mark.parametrize("name", BEFORE_ANY_WORK)
def test_what_can_be_seen_before_any_work_stops_the_command(convert, raw_scans, tmp_path, name):
    (old, new), options, where, found, expected, remedy = BEFORE_ANY_WORK[name]
    if old:
        edit(raw_scans, old, new)
    if name in TIMES:
        edit(raw_scans, ",2.5,", f",{TIMES[name]},")
        edit(raw_scans, ",,Q", ",,,Q")
        edit(raw_scans, "c_flair.nii.gz,,,", "c_flair.nii.gz,,,,")
    before = files(tmp_path)
    with pytest.raises(SystemExit) as error:
        convert(*options)
    assert where in error.value.__cause__.where
    assert found in error.value.__cause__.found
    assert expected in error.value.__cause__.expected
    assert remedy in error.value.__cause__.remedy
    assert files(tmp_path) == before
    assert not (tmp_path / "raw").exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_channel_of_no_known_kind_is_named(convert, raw_scans, capsys):
    edit(raw_scans, "DWI,ADC,", "DTI,b0,")
    with pytest.raises(SystemExit, match="--as-named DTI"):
        convert()
    capsys.readouterr()
    assert convert("--as-named", "DTI") == 0
    assert "DTI, b0: no known kind of scan (own branch, no unit)\n" in capsys.readouterr().out


def test_a_file_in_the_datasets_place_stops_the_command(convert, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "Dataset007_Bad").touch()
    with pytest.raises(SystemExit, match="Dataset007_Bad") as error:
        convert()
    assert error.value.__cause__.found == "a file"


def test_a_link_to_nothing_in_the_datasets_place_stops_the_command(convert, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "Dataset007_Bad").symlink_to("gone")
    with pytest.raises(SystemExit, match="Dataset007_Bad") as error:
        convert()
    assert error.value.__cause__.found == "a link to nothing"


def spoil_place(shift: float) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        image = sitk.ReadImage(str(path))
        image.SetOrigin((0, 0, shift))
        sitk.WriteImage(image, str(path))

    return spoil


def spoil_labels(path: Path) -> None:
    sitk.WriteImage(sitk.ReadImage(str(path)) * 3, str(path))


def spoil_values(value: float) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        image = sitk.ReadImage(str(path), sitk.sitkFloat32)
        image[3, 3, 3] = value
        sitk.WriteImage(image, str(path))

    return spoil


def spoil_dimensions(path: Path) -> None:
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(path))


def spoil_unit(path: Path) -> None:
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(image * 37, str(path))


WHILE_CONVERTING = {
    "a mask on another grid": ("b_mask", spoil_place(3), "24 x 24 x 8 voxels", "the grid of a scan: DWI", "resample"),
    "a mask with unknown labels": ("b_mask", spoil_labels, "the labels 3", "0 and 1 (lesion)", "--labels lesion=any"),
    "a mask of fractions": ("b_mask", spoil_values(0.5), "0.5", "whole-numbered labels", "threshold"),
    "a file that is no image": ("b_adc", lambda path: path.write_bytes(b"no"), "cannot be read", "an image", "replace"),
    "a truncated file": (
        "b_flair", lambda path: path.write_bytes(path.read_bytes()[:-400]), "truncated", "NIfTI", "copy it again",
    ),
    "NaN": ("b_dwi", spoil_values(np.nan), "1 voxels", "finite values", "mend the file"),
    "four dimensions": ("b_dwi", spoil_dimensions, "2 volumes", "one diffusion-weighted", "--dwi-volume last"),
    "an ADC map in an odd unit": ("b_adc", spoil_unit, "no unit", "10^-3 mm^2/s", "--adc-unit"),
    "scans that do not overlap": ("b_flair", spoil_place(500), "nothing of it lies", "one head", "--reference"),
}  # fmt: skip


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", WHILE_CONVERTING)
def test_what_is_found_while_converting_is_named_at_the_end(convert, raw_scans, tmp_path, capsys, name):
    scan, spoil, *message = WHILE_CONVERTING[name]
    spoil(raw_scans / f"{scan}.nii.gz")
    assert convert() == 1
    printed = capsys.readouterr().out
    assert "1 labelled, 1 in the pool" in printed
    named = printed.partition("Not converted: b")[2]
    for part in message:
        assert part in named
    dataset = tmp_path / "raw" / "Dataset007_Bad"
    assert (dataset / "labelsTr" / "a.nii.gz").exists()
    assert not (dataset / "labelsTr" / "b.nii.gz").exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_reference_is_the_users_to_choose_where_there_are_several_channels(raw_scans, tmp_path):
    words = ["convert", "-i", str(raw_scans / "manifest.csv"), "-o", str(tmp_path / "raw"), "--id", "7", "--name", "X"]
    with pytest.raises(SystemExit, match=r"DWI \| ADC \| FLAIR \| none"):
        main(words)
    assert main([*words, "--channels", "DWI", "-np", "1"]) == 0


def test_a_missing_elastix_is_told_before_any_work(convert, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "itk", None)
    with pytest.raises(SystemExit, match=r"nnunet_mgcl\[elastix\]"):
        convert("--reference", "DWI", "--engine", "elastix")
    assert not (tmp_path / "raw").exists()


@pytest.mark.usefixtures("no_pictures")
def test_test_cases_need_no_name(convert, raw_scans, tmp_path):
    words = ["convert", "-i", str(raw_scans / "test.csv"), "-o", str(tmp_path / "raw"), "--test", "--id", "7"]
    words += ["--reference", "none", "-np", "1"]
    (raw_scans / "test.csv").write_text("case,DWI,ADC,FLAIR\nt,t_dwi.nii.gz,t_adc.nii.gz,t_flair.nii.gz\n")
    with pytest.raises(SystemExit, match=r"0 datasets Dataset007_\*"):
        main(words)
    assert not (tmp_path / "raw").exists()
    convert()
    assert main(words) == 0
    assert (tmp_path / "raw" / "Dataset007_Bad" / "imagesTs" / "t_0000.nii.gz").is_file()
    (tmp_path / "raw" / "Dataset007_Other").mkdir()
    with pytest.raises(SystemExit, match="Dataset007_Bad, Dataset007_Other"):
        main(words)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_without_a_case_leaves_its_number_free(convert, raw_scans, tmp_path, capsys):
    for path in raw_scans.glob("*_flair.nii.gz"):
        path.write_bytes(b"no")
    assert convert() == 1
    assert "it has no case" in capsys.readouterr().out
    assert not list((tmp_path / "raw").iterdir())
    assert convert("--name", "Other", "--channels", "DWI") == 0


@pytest.mark.usefixtures("no_pictures")
def test_the_parent_folder_is_nnunet_raw_by_default(raw_scans, tmp_path, monkeypatch):
    words = ["convert", "-i", str(raw_scans / "manifest.csv"), *OPTIONS]
    monkeypatch.delenv("nnUNet_raw", raising=False)
    with pytest.raises(SystemExit, match="nnUNet_raw is not set"):
        main(words)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "here"))
    assert main(words) == 0
    assert (tmp_path / "here" / "Dataset007_Bad" / "dataset.json").is_file()


@pytest.mark.usefixtures("no_pictures")
def test_the_next_command_is_told_where_it_will_work(convert, raw_scans, tmp_path, capsys, monkeypatch):
    following = "nnUNetv2_plan_and_preprocess -d 7 --verify_dataset_integrity\n"
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    assert convert() == 0
    assert capsys.readouterr().out.endswith(f"\nNext: {following}")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "other"))
    convert()
    assert capsys.readouterr().out.endswith(f"\nNext: nnUNet_raw={tmp_path / 'raw'} {following}")

    good = (raw_scans / "a_adc.nii.gz").read_bytes()
    (raw_scans / "a_adc.nii.gz").write_bytes(b"no")
    assert convert() == 1
    assert "Next:" not in capsys.readouterr().out
    (raw_scans / "a_adc.nii.gz").write_bytes(good)
    edit(raw_scans, ",a_mask.nii.gz,", ",,")
    edit(raw_scans, ",b_mask.nii.gz,", ",,")
    assert convert() == 0
    assert "Next:" not in capsys.readouterr().out


@pytest.mark.usefixtures("no_pictures")
def test_a_draft_names_the_scans_of_a_folder_and_converts(raw_scans, tmp_path, capsys):
    (raw_scans / "manifest.csv").unlink()
    draft = raw_scans / "draft.csv"
    assert main(["convert", "--init", str(raw_scans), "-o", str(draft)]) == 0
    assert {"DWI", "ADC", "FLAIR", "mask"} <= set(draft.read_text().splitlines()[0].split(","))
    assert main(["convert", "-i", str(draft), "-o", str(tmp_path / "raw"), *OPTIONS]) == 0
    assert "4 labelled" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="existing file"):
        main(["convert", "--init", str(raw_scans), "-o", str(draft)])


@pytest.mark.usefixtures("no_pictures")
def test_a_bids_folder_is_a_manifest_too(raw_scans, tmp_path):
    bids = tmp_path / "bids"
    for patient in ("a", "b"):
        for kind, folder, suffix in (("dwi", "dwi", "dwi"), ("adc", "dwi", "adc"), ("flair", "anat", "FLAIR")):
            target = bids / f"sub-{patient}" / folder / f"sub-{patient}_{suffix}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((raw_scans / f"{patient}_{kind}.nii.gz").read_bytes())
        mask = bids / "derivatives" / f"sub-{patient}_label-lesion_mask.nii.gz"
        mask.parent.mkdir(parents=True, exist_ok=True)
        mask.write_bytes((raw_scans / f"{patient}_mask.nii.gz").read_bytes())
    assert main(["convert", "--bids", str(bids), "-o", str(tmp_path / "raw"), *OPTIONS]) == 0
    names = [path.name for path in (tmp_path / "raw" / "Dataset007_Bad" / "labelsTr").iterdir()]
    assert sorted(names) == ["sub-a.nii.gz", "sub-b.nii.gz"]
