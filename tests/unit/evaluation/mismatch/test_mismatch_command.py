"""`mgcl mismatch` on a labelled dataset of four cases, and on predictions."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.cli import main
from nnunet_mgcl.errors import UserError

LESIONS = {"a": [(40, 5, 5, 14, 1.0)], "b": [(-40, 5, 5, 14, 1.4)], "c": [(40, -20, 0, 12, 1.3)], "d": []}


@pytest.fixture
def raw(head, tmp_path, monkeypatch):
    """DWI and FLAIR with one mask; a is early, b late, c unknown, d late and without a lesion."""
    folder = tmp_path / "raw" / "Dataset077_Heads"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for case, lesions in LESIONS.items():
        patient = head(lesions=lesions)
        labels = sitk.GetImageFromArray(patient.mask.astype(np.uint8))
        labels.CopyInformation(patient.flair)
        sitk.WriteImage(labels, str(folder / "labelsTr" / f"{case}.nii.gz"))
        for channel in range(2):
            sitk.WriteImage(patient.flair, str(folder / "imagesTr" / f"{case}_{channel:04}.nii.gz"))
    content = {"channel_names": {"0": "DWI", "1": "FLAIR"}, "labels": {"background": 0, "lesion": 1}}
    (folder / "dataset.json").write_text(json.dumps(content | {"numTraining": 4, "file_ending": ".nii.gz"}))
    (folder / "tss.csv").write_text("case,tss_hours\na,2\nb,9\nd,7\n")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    return folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_labelled_dataset(raw, tmp_path, capsys) -> None:
    assert main(["mismatch", "-d", "77", "-o", str(tmp_path / "out"), "-np", "1"]) == 0
    found = {row["case"]: row for row in rows(tmp_path / "out" / "mismatch.csv")}
    assert list(found) == ["a", "b", "c", "d"]
    assert [row["tss_class"] for row in found.values()] == ["1", "0", "", "0"]
    assert [row["flair_positive"] for row in found.values()] == ["0", "1", "1", ""]
    assert found["d"]["mismatch_reason"].startswith("FLAIR: no DWI lesion of at least 0.5 ml")
    lesions = rows(tmp_path / "out" / "mismatch_lesions.csv")
    assert [(lesion["case"], lesion["side"]) for lesion in lesions] == [("a", "left"), ("b", "right"), ("c", "left")]
    summary = json.loads((tmp_path / "out" / "mismatch_summary.json").read_text())
    metrics = summary["baselines"]["FLAIR ratio"]
    assert (metrics["cases"], metrics["ACC"], metrics["AUROC"], metrics["left_out"]) == (2, 1.0, 1.0, ["d"])
    assert summary["options"]["flair_positive"] == 1.15 and summary["channels"] == {"FLAIR": 1}
    printed = capsys.readouterr().out
    assert "FLAIR (channel 1)" in printed and "left out without an answer: d" in printed


def test_predictions_need_no_nnunet_folder(raw, tmp_path, monkeypatch, capsys) -> None:
    """`-s` is what `mgcl predict` has written, whose tss.csv is no table of known times."""
    monkeypatch.delenv("nnUNet_raw")
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    for name in ("labelsTr/b.nii.gz", "dataset.json"):
        (predictions / name.split("/")[-1]).write_bytes((raw / name).read_bytes())
    (predictions / "tss.csv").write_text("case,probability\nb,0.9\n")
    command = ["mismatch", "-i", str(raw / "imagesTr"), "-s", str(predictions), "-np", "1"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    assert [(row["case"], row["tss_class"]) for row in rows(tmp_path / "out" / "mismatch.csv")] == [("b", "")]
    assert "No baseline: no time is known" in capsys.readouterr().out
    (tmp_path / "known.csv").write_text("case,tss_class\nb,1\n")
    assert main([*command, "-o", str(tmp_path / "out"), "--tss", str(tmp_path / "known.csv")]) == 0
    assert [row["tss_class"] for row in rows(tmp_path / "out" / "mismatch.csv")] == ["1"]
    assert "no negative cases" in capsys.readouterr().out


def test_dwi_alone_gives_lesions_and_promises_no_perfusion(raw, tmp_path, capsys) -> None:
    content = json.loads((raw / "dataset.json").read_text())
    (raw / "dataset.json").write_text(json.dumps(content | {"channel_names": {"0": "DWI", "1": "T1"}}))
    assert main(["mismatch", "-d", "77", "-o", str(tmp_path / "out"), "-np", "1"]) == 0
    assert "core: DWI mask; hypoperfusion: none (no Tmax channel)" in capsys.readouterr().out
    found = rows(tmp_path / "out" / "mismatch.csv")
    assert [row["lesions"] for row in found] == ["1", "1", "1", "0"]
    volumes = [float(lesion["volume_ml"]) for lesion in rows(tmp_path / "out" / "mismatch_lesions.csv")]
    assert volumes == [pytest.approx(float(row["core_ml"])) for row in found[:3]]


def test_several_processes_find_the_same(raw, tmp_path) -> None:
    for processes in ("1", "2"):
        main(["mismatch", "-d", "77", "-o", str(tmp_path / processes), "-np", processes])
    for name in ("mismatch.csv", "mismatch_lesions.csv", "mismatch_summary.json"):
        assert (tmp_path / "1" / name).read_text() == (tmp_path / "2" / name).read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "-d, or both -i and -s"),
        (["-d", "78"], "dataset 78"),
        (["-d", "77", "-s", "nowhere"], "no segmentation"),
        (["-d", "77", "-i", "nowhere"], "a folder of images"),
        (["-d", "77", "--channels", "FLAIR"], "ROLE=NAME"),
        (["-d", "77", "--flair-positive", "0"], "a number above 0"),
        (["-d", "77", "--min-lesion-ml", "nan"], "a number above 0"),
    ],
)
def test_mistakes_are_named(raw, tmp_path, words, message) -> None:
    with pytest.raises(UserError, match=message):
        main(["mismatch", "-o", str(tmp_path / "out"), *words])
    assert not (tmp_path / "out").exists()
