"""The whole cascade through the real commands on real scans, with tiny budgets.

Needs below $MGCL_TEST_DATA (the scans are not part of this repository):

- `isles22`: three patients of ISLES'22 (Hernandez Petzsche et al., Scientific Data 9, 762, 2022; CC BY-SA 4.0);
- `Dataset004_Hippocampus`: Task04 of the Medical Segmentation Decathlon in nnU-Net's raw format (Antonelli et al.,
  Nature Communications 13, 4128, 2022; CC BY-SA 4.0).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

DATA = Path(os.environ.get("MGCL_TEST_DATA", "nowhere"))
SCANS, HIPPOCAMPUS = DATA / "isles22", DATA / "Dataset004_Hippocampus"
TINY = [
    *(f"{phase}.epochs=1" for phase in ("seed", "self_train", "coarse", "fine")),
    *("segment.epochs=1", "segment.iterations=2", "segment.val_iterations=1"),
]
CASES = ("0001", "0002", "0009")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SCANS.is_dir() and HIPPOCAMPUS.is_dir()), reason="set MGCL_TEST_DATA to a folder that holds the scans"
    ),
]


def scan(case: str, kind: str) -> Path:
    return SCANS / f"sub-strokecase{case}_ses-0001_{kind}.nii.gz"


def write_in_one_unit(source: Path, target: Path) -> None:
    """Case 0002's ADC is in mm^2/s, the others' in 10^-3 mm^2/s."""
    image = sitk.ReadImage(str(source), sitk.sitkFloat32)
    if sitk.GetArrayFromImage(image).max() < 0.1:
        image = image * 1000
    sitk.WriteImage(image, str(target))


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """DWI + ADC: two labelled patients, and the third one's scans as two unpaired pool cases."""
    root = tmp_path_factory.mktemp("isles")
    raw = root / "raw" / "Dataset022_ISLES"
    for name in ("imagesTr", "labelsTr", "imagesUn", "imagesTs"):
        (raw / name).mkdir(parents=True)
    for case in CASES:
        for channel, kind in enumerate(("dwi", "adc")):
            write_in_one_unit(scan(case, kind), raw / "imagesTs" / f"isles_{case}_{channel:04d}.nii.gz")
    for case in CASES[:2]:
        for channel in range(2):
            name = f"isles_{case}_{channel:04d}.nii.gz"
            (raw / "imagesTr" / name).write_bytes((raw / "imagesTs" / name).read_bytes())
        mask = sitk.Cast(sitk.ReadImage(str(scan(case, "msk"))) > 0, sitk.sitkUInt8)
        sitk.WriteImage(mask, str(raw / "labelsTr" / f"isles_{case}.nii.gz"))
    for channel, pool_case in enumerate(("lone_dwi", "lone_adc")):
        name = f"isles_0009_{channel:04d}.nii.gz"
        (raw / "imagesUn" / f"{pool_case}_{channel:04d}.nii.gz").write_bytes((raw / "imagesTs" / name).read_bytes())
    dataset = {
        "channel_names": {"0": "DWI", "1": "ADC"}, "labels": {"background": 0, "lesion": 1}, "numTraining": 2,
        "file_ending": ".nii.gz",
    }  # fmt: skip
    (raw / "dataset.json").write_text(json.dumps(dataset))
    return root


@pytest.fixture(scope="module")
def planned(raw, call) -> Path:
    call(
        raw, "nnUNetv2_plan_and_preprocess", "-d", 22, "-c", "2d", "3d_fullres", "-np", 1, 1, "-npfp", 1,
        "--verify_dataset_integrity",
    )  # fmt: skip
    call(raw, "mgcl", "plan", "-d", 22, "--preset", "demo", "--set", *TINY)
    return raw


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_cascade_and_both_predictions_keep_every_geometry(planned, call, tmp_path, configuration):
    train = ("nnUNetv2_train", 22, configuration, 0, "-tr", "MGCLTrainer", "-p", "MGCLPlans_demo", "-device", "cpu")
    log = call(planned, *train)
    for phase in ("seed", "pseudo_label_1", "self_train", "pseudo_label_2", "coarse", "fine", "segment"):
        for modality in ("DWI", "ADC"):
            assert f"MGCL: {phase} {modality}" in log
    images = planned / "raw" / "Dataset022_ISLES" / "imagesTs"
    model = ("-d", 22, "-c", configuration, "-p", "MGCLPlans_demo", "-f", 0, "-device", "cpu", "-npp", 1, "-nps", 1)
    model += ("--disable_tta",)
    call(planned, "nnUNetv2_predict", "-i", images, "-o", tmp_path / "stock", "-tr", "MGCLTrainer", *model)
    call(planned, "mgcl", "predict", "-i", images, "-o", tmp_path / "mgcl", *model)
    for case in CASES:
        image = sitk.ReadImage(str(images / f"isles_{case}_0000.nii.gz"))
        stock, mgcl = (sitk.ReadImage(str(tmp_path / o / f"isles_{case}.nii.gz")) for o in ("stock", "mgcl"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(stock), sitk.GetArrayFromImage(mgcl))
        assert mgcl.GetSize() == image.GetSize()
        np.testing.assert_allclose(mgcl.GetSpacing(), image.GetSpacing(), rtol=1e-6)
        np.testing.assert_allclose(mgcl.GetOrigin(), image.GetOrigin(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(mgcl.GetDirection(), image.GetDirection(), atol=1e-6)
    validation = next(planned.glob(f"res/*/MGCLTrainer__*__{configuration}/fold_0/validation"))
    assert json.loads((validation / "summary.json").read_text())["metric_per_case"]
    assert not (tmp_path / "mgcl" / "tss.csv").exists()  # the dataset has no onset times


def test_cascade_runs_in_3d_with_several_classes(tmp_path, call):
    """Hippocampus: one channel, two classes, no TSS."""
    raw = tmp_path / "raw" / "Dataset004_Hippocampus"
    cases = sorted(path.name for path in (HIPPOCAMPUS / "labelsTr").glob("*.nii.gz"))[:10]
    for folder in ("imagesTr", "labelsTr", "imagesUn"):
        (raw / folder).mkdir(parents=True)
    for number, case in enumerate(cases):
        image = case.replace(".nii.gz", "_0000.nii.gz")
        shutil.copy(HIPPOCAMPUS / "imagesTr" / image, raw / ("imagesTr" if number < 6 else "imagesUn"))
        if number < 6:
            shutil.copy(HIPPOCAMPUS / "labelsTr" / case, raw / "labelsTr")
    dataset = json.loads((HIPPOCAMPUS / "dataset.json").read_text()) | {"numTraining": 6}
    (raw / "dataset.json").write_text(json.dumps(dataset))
    call(tmp_path, "nnUNetv2_plan_and_preprocess", "-d", 4, "-c", "3d_fullres", "-np", 1, "-npfp", 1)
    call(tmp_path, "mgcl", "plan", "-d", 4, "-c", "3d_fullres", "--preset", "demo", "--set", *TINY)
    train = ("nnUNetv2_train", 4, "3d_fullres", 0, "-tr", "MGCLTrainer", "-p", "MGCLPlans_demo", "-device", "cpu")
    log = call(tmp_path, *train)
    for phase in ("seed", "pseudo_label_1", "self_train", "pseudo_label_2", "coarse", "fine", "segment"):
        assert f"MGCL: {phase} MRI" in log
    validation = next(tmp_path.glob("res/*/MGCLTrainer__*/fold_0/validation"))
    assert set(json.loads((validation / "summary.json").read_text())["mean"]) == {"1", "2"}
