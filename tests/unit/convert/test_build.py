"""`build_dataset` writes what `mgcl convert` writes, and says what it could not convert."""

from __future__ import annotations

import json

import pytest

from nnunet_mgcl.cli import main
from nnunet_mgcl.convert.build import build_dataset
from nnunet_mgcl.system.errors import UserError

pytestmark = pytest.mark.usefixtures("converting_here")

NO_LIMIT = {"max_shift": 1000.0, "max_rotation": 360.0}


def test_dataset_is_read_at_once_and_to_the_command_nothing_is_new(raw_scans, tmp_path, capsys) -> None:
    lines, manifest = [], raw_scans / "manifest.csv"
    choices = {"channels": ["DWI", "FLAIR"], "labels": {"core": 1}, "spacing": (4, 4, 5)}
    choices |= {"max_shift": 1000, "max_rotation": 360, "modalities": {"all": ["DWI", "FLAIR"]}}
    found = build_dataset(
        manifest, 501, "Stroke", tmp_path, reference="DWI", incomplete="pool", log=lines.append, **choices
    )
    assert [(case.name, case.tss_hours, case.patient) for case in found.training] == [("a", 2.5, "P"), ("b", None, "Q")]
    assert found.folder == tmp_path / "Dataset501_Stroke" and found.channels == {0: "DWI", 1: "FLAIR"}
    assert found.pool == [] and found.targets == {"core": [1]}
    assert found.dataset_json["mgcl"]["modalities"] == {"all": [0, 1]}
    assert found.read_image(found.training[0])[1] == (5.0, 4.0, 4.0)
    assert any("Channels: DWI (0), FLAIR (1)" in line for line in lines)
    command = ["convert", "-i", str(manifest), "--id", "501", "--name", "Stroke", "-o", str(tmp_path), "-np", "1"]
    command += ["--reference", "DWI", "--incomplete", "pool", "--channels", "DWI", "FLAIR", "--labels", "core=1"]
    command += ["--modality", "all=DWI,FLAIR", "--spacing", "4", "4", "5", "--max-shift", "1000"]
    assert main([*command, "--max-rotation", "360"]) == 0
    assert "(0 converted, 2 unchanged, 0 removed)" in capsys.readouterr().out


def test_cases_in_doubt_are_named_and_may_be_accepted(raw_scans, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    options = {"reference": "DWI", "log": lambda _: None, "max_shift": 1e-9, "max_rotation": 1e-9}
    with pytest.raises(UserError, match=r"held back[\s\S]*index\.html[\s\S]*accept=\[") as refusal:
        build_dataset(raw_scans / "manifest.csv", 501, "Stroke", **options)
    names = json.loads(refusal.value.remedy.split("accept=")[1].replace("'", '"'))
    assert [case.name for case in build_dataset(raw_scans / "manifest.csv", 501, "Stroke", accept=names, **options)
            .training] == ["a", "b"]  # fmt: skip


def test_what_cannot_be_converted_is_refused(raw_scans, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    manifest, quiet = raw_scans / "manifest.csv", {"log": lambda _: None}
    for message, arguments, options in (
        ("folder=FOLDER", (manifest, 501, "Stroke"), {}),
        ("--reference", (manifest, 501, "Stroke", tmp_path), {}),
        ("--id", (manifest, 1000, "Stroke", tmp_path), {"reference": "DWI"}),
        ("--spacing", (manifest, 501, "Stroke", tmp_path), {"reference": "DWI", "spacing": (1.0, 1.0, 0.0)}),
        ("-np", (manifest, 501, "Stroke", tmp_path), {"reference": "DWI", "processes": 0}),
        (r"no\.csv", (raw_scans / "no.csv", 501, "Stroke", tmp_path), {"reference": "DWI"}),
    ):
        with pytest.raises(UserError, match=message):
            build_dataset(*arguments, **options, **quiet)
    assert not list(tmp_path.glob("Dataset*"))
    (raw_scans / "b_flair.nii.gz").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"b not converted; b: .*b_flair\.nii\.gz"):
        build_dataset(manifest, 501, "Stroke", tmp_path, reference="DWI", **NO_LIMIT, **quiet)
