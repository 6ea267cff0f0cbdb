"""From raw scans to nnU-Net's preprocessing, with the commands a user would type.

The last tests need `isles22` below $MGCL_TEST_DATA: three patients of ISLES'22 (Hernandez Petzsche et al., Scientific
Data 9, 762, 2022; CC BY-SA 4.0), of which one has a FLAIR. The scans are not part of this repository.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import SimpleITK as sitk

SCANS = Path(os.environ.get("MGCL_TEST_DATA", "nowhere")) / "isles22"
CASES = ("0001", "0002", "0009")
NNUNET = ("nnUNetv2_plan_and_preprocess", "-d", 31, "-c", "2d", "-np", 1, "-npfp", 1, "--verify_dataset_integrity")

pytestmark = pytest.mark.slow
needs_scans = pytest.mark.skipif(not SCANS.is_dir(), reason="set MGCL_TEST_DATA to a folder that holds isles22")


def preprocessed(root: Path) -> list[str]:
    return sorted(path.stem for path in root.glob("pre/*/nnUNetPlans_2d/*.pkl"))


def test_two_processes_register_and_nnunet_accepts(raw_scans, tmp_path, call):
    words = ("mgcl", "convert", "-i", raw_scans / "manifest.csv", "--id", 31, "--name", "Small")
    printed = call(tmp_path, *words, "--reference", "DWI", "-np", 2)
    assert "2 labelled, 1 in the pool (3 converted" in printed
    assert "3 unchanged" in call(tmp_path, *words, "--reference", "DWI", "-np", 2)
    call(tmp_path, *NNUNET)
    assert preprocessed(tmp_path) == ["a", "b"]


@pytest.fixture
def manifest(tmp_path) -> Path:
    def scan(case: str, kind: str) -> str:
        path = SCANS / f"sub-strokecase{case}_ses-0001_{kind}.nii.gz"
        return str(path) if path.is_file() else ""

    rows = [[f"isles_{case}", *(scan(case, kind) for kind in ("dwi", "adc", "flair", "msk"))] for case in CASES]
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["case", "DWI", "ADC", "FLAIR", "mask"], *rows])
    return tmp_path / "manifest.csv"


@pytest.fixture
def convert(manifest) -> tuple:
    return ("mgcl", "convert", "-i", manifest, "--id", 31, "--name", "ISLES", "--reference", "DWI", "-np", 2)


@needs_scans
def test_the_patients_without_flair_go_to_the_pool(convert, tmp_path, call):
    call(tmp_path, *convert, "--incomplete", "pool")
    dataset = tmp_path / "raw" / "Dataset031_ISLES"
    pool = sorted(path.name for path in (dataset / "imagesUn").iterdir())
    assert pool == [f"isles_{case}_000{channel}.nii.gz" for case in CASES[:2] for channel in range(2)]
    record = json.loads((dataset / "mgcl_convert" / "cases" / "isles_0009.json").read_text())
    moved = record["channels"]["FLAIR"]["registration"]
    assert moved["after"] > moved["before"]
    assert moved["shift_mm"] < 3  # one session, one scanner: nearly registered already
    assert moved["rotation_deg"] < 3
    assert record["lesion_ml"]["lesion"] == pytest.approx(4.184)
    call(tmp_path, *NNUNET)
    assert preprocessed(tmp_path) == ["isles_0009"]


@needs_scans
def test_all_patients_are_labelled_without_flair(convert, tmp_path, call):
    printed = call(tmp_path, *convert, "--channels", "DWI", "ADC")
    dataset = tmp_path / "raw" / "Dataset031_ISLES"
    for case, unit in zip(CASES, ("10^-3 mm^2/s, x 1000", "mm^2/s, x 1e+06", "10^-3 mm^2/s, x 1000"), strict=True):
        assert f"isles_{case}: ADC: {unit}" in printed
        adc = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "imagesTr" / f"isles_{case}_0001.nii.gz")))
        assert 3000 < adc.max() < 6000
    call(tmp_path, *NNUNET)
    assert preprocessed(tmp_path) == [f"isles_{case}" for case in CASES]


def test_a_killed_run_takes_its_workers_along_and_the_next_one_goes_on(raw_scans, tmp_path, call):
    many = raw_scans / "many.csv"
    rows = [f"{case}{number},{case}{number}.nii.gz\n" for case in "abc" for number in range(20)]
    for number, row in enumerate(rows):  # no two are one scan
        scan = sitk.ReadImage(str(raw_scans / f"{row[0]}_flair.nii.gz")) + number
        sitk.WriteImage(scan, str(raw_scans / row.split(",")[1].strip()))
    many.write_text("case,FLAIR\n" + "".join(rows))
    words = ["mgcl", "convert", "-i", many, "-o", tmp_path / "raw", "--id", 31, "--name", "Many", "-np", 2]
    process = subprocess.Popen([str(word) for word in words], start_new_session=True)
    dataset = tmp_path / "raw" / "Dataset031_Many"
    while len(list((dataset / "mgcl_convert" / "cases").glob("*.json"))) < 5:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    for _ in range(1200):
        if not _alive(process.pid):
            break
        time.sleep(0.1)
    else:
        pytest.fail("a worker lives on")
    assert not (dataset / "dataset.json").exists()
    done = len(list((dataset / "imagesUn").iterdir()))
    assert 5 <= done < 60
    printed = call(tmp_path, *words)
    assert f"60 in the pool ({60 - done} converted" in printed or f"({61 - done} converted" in printed
    assert len(list((dataset / "imagesUn").iterdir())) == 60


def _alive(group: int) -> bool:
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
