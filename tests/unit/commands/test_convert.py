"""The command on the scans of `raw_scans`. What it refuses is in tests/corpus/test_convert.py, worker processes are in
tests/unit/convert/test_case.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.cli import main
from nnunet_mgcl.convert.quality.picture import draw_case

OPTIONS = ("--id", "7", "--name", "Bad", "--reference", "none", "-np", "1")


@pytest.fixture
def convert(raw_scans, tmp_path, converting_here) -> Callable[..., int]:
    def convert(*options: object, source: tuple = ("-i", raw_scans / "manifest.csv")) -> int:
        return main(["convert", *map(str, (*source, "-o", tmp_path / "raw", *OPTIONS, *options))])

    return convert


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "manifest.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_it_writes_a_dataset_and_says_what_it_did(convert, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nnunet_mgcl.convert.case.draw_case", draw_case)
    assert convert() == 0
    dataset = tmp_path / "raw" / "Dataset007_Bad"
    assert len(list((dataset / "imagesTr").iterdir())) == 6
    page = dataset / "mgcl_convert" / "index.html"
    assert page.is_file()
    assert (page.parent / "cases" / "a.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "2 labelled, 1 in the pool (3 converted, 0 unchanged, 0 removed)" in printed and str(page) in printed
    assert convert() == 0
    assert "(0 converted, 3 unchanged, 0 removed)" in capsys.readouterr().out


def test_what_is_found_while_converting_is_named_at_the_end(convert, raw_scans, tmp_path, capsys):
    path = raw_scans / "b_dwi.nii.gz"
    image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    image[3, 3, 3] = np.nan
    sitk.WriteImage(image, str(path))
    assert convert() == 1
    printed = capsys.readouterr().out
    assert "1 labelled, 1 in the pool" in printed
    named = printed.partition("Not converted: b")[2]
    assert f"line 3, column DWI: {path}" in named and "NaN" in named
    labels = tmp_path / "raw" / "Dataset007_Bad" / "labelsTr"
    assert [path.name for path in labels.iterdir()] == ["a.nii.gz"]


def test_a_missing_elastix_is_told_before_any_work(convert, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "itk", None)
    with pytest.raises(SystemExit, match="--engine elastix"):
        convert("--reference", "DWI", "--engine", "elastix")
    assert not (tmp_path / "raw").exists()


def test_test_cases_need_no_name(convert, raw_scans, tmp_path):
    words = ["convert", "-i", str(raw_scans / "test.csv"), "-o", str(tmp_path / "raw"), "--test", "--id", "7"]
    words += ["--reference", "none", "-np", "1"]
    (raw_scans / "test.csv").write_text("case,DWI,ADC,FLAIR\nt,t_dwi.nii.gz,t_adc.nii.gz,t_flair.nii.gz\n")
    with pytest.raises(SystemExit, match=r"0 datasets Dataset007_\*"):
        main(words)
    convert()
    assert main(words) == 0
    assert (tmp_path / "raw" / "Dataset007_Bad" / "imagesTs" / "t_0000.nii.gz").is_file()
    (tmp_path / "raw" / "Dataset007_Other").mkdir()
    with pytest.raises(SystemExit, match="Dataset007_Bad, Dataset007_Other"):
        main(words)


def test_a_run_without_a_case_leaves_its_number_free(convert, raw_scans, tmp_path, capsys):
    for path in raw_scans.glob("*_flair.nii.gz"):
        path.write_bytes(b"no")
    assert convert() == 1
    assert "it has no case" in capsys.readouterr().out
    assert not list((tmp_path / "raw").iterdir())
    assert convert("--name", "Other", "--channels", "DWI") == 0


def test_the_parent_folder_is_nnunet_raw_by_default(converting_here, raw_scans, tmp_path, monkeypatch):
    words = ["convert", "-i", str(raw_scans / "manifest.csv"), *OPTIONS]
    monkeypatch.delenv("nnUNet_raw", raising=False)
    with pytest.raises(SystemExit, match="nnUNet_raw is not set"):
        main(words)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "here"))
    assert main(words) == 0
    assert (tmp_path / "here" / "Dataset007_Bad" / "dataset.json").is_file()


def test_the_next_command_is_told_where_it_will_work(convert, raw_scans, tmp_path, capsys, monkeypatch):
    following = "nnUNetv2_plan_and_preprocess -d 7 --verify_dataset_integrity\n"
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    assert convert() == 0
    assert capsys.readouterr().out.endswith(f"\nNext: {following}")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "other"))
    convert()
    assert capsys.readouterr().out.endswith(f"\nNext: nnUNet_raw={tmp_path / 'raw'} {following}")

    (raw_scans / "a_adc.nii.gz").write_bytes(b"no")
    assert convert() == 1
    assert "Next:" not in capsys.readouterr().out
    edit(raw_scans, ",b_mask.nii.gz,", ",,")
    edit(raw_scans, "a,a_dwi.nii.gz,a_adc.nii.gz,a_flair.nii.gz,a_mask.nii.gz,2.5,P\n", "")
    assert convert() == 0  # the pool alone cannot be planned
    assert "Next:" not in capsys.readouterr().out


def test_a_draft_names_the_scans_of_a_folder_and_converts(convert, raw_scans, capsys):
    (raw_scans / "manifest.csv").unlink()
    draft = raw_scans / "draft.csv"
    assert main(["convert", "--init", str(raw_scans), "-o", str(draft)]) == 0
    assert {"DWI", "ADC", "FLAIR", "mask"} <= set(draft.read_text().splitlines()[0].split(","))
    assert convert(source=("-i", draft)) == 0
    assert "4 labelled" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="existing file"):
        main(["convert", "--init", str(raw_scans), "-o", str(draft)])


def test_a_bids_folder_is_a_manifest_too(convert, raw_scans, tmp_path):
    names = {"dwi": "dwi/sub-a_dwi", "adc": "dwi/sub-a_adc", "flair": "anat/sub-a_FLAIR", "mask": "sub-a_mask"}
    for kind, name in names.items():
        target = tmp_path / "bids" / "sub-a" / f"{name}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((raw_scans / f"a_{kind}.nii.gz").read_bytes())
    assert convert(source=("--bids", tmp_path / "bids")) == 0
    assert (tmp_path / "raw" / "Dataset007_Bad" / "labelsTr" / "sub-a.nii.gz").is_file()
