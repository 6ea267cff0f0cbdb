"""The main job on a tiny phantom, through nnU-Net's own commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl import cli
from tests.integration import phantom
from tests.integration.phantom import MODEL, assert_same_segmentations, images, make_phantom, model, plan, rows, voxels

PREDICTION = ("-f", 0, "-device", "cpu", "-npp", 1, "-nps", 1, "--disable_progress_bar")
TRAINING = phantom.train(0)
TINY = [
    *(f"{phase}.epochs=1" for phase in ("seed", "self_train", "fine")), "coarse.epochs=2", "coarse.batch_size=8",
    "segment.epochs=2", "segment.iterations=4", "segment.val_iterations=1", "tss.epochs=2",
    "tss.head=mrff", 'tss.compared=["lesion"]', "configuration.batch_size=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory, call) -> Path:
    root = tmp_path_factory.mktemp("cascade")
    make_phantom(root, call, cases=6, unlabelled=6, test=2)
    plan(root, call, *TINY)
    (root / "log.txt").write_text(call(root, *TRAINING))
    return root


def fold(root: Path) -> Path:
    return model(root) / "fold_0"


def test_every_phase_ran_in_every_branch(trained):
    log = (trained / "log.txt").read_text()
    for phase in ("seed", "pseudo_label_1", "self_train", "pseudo_label_2", "coarse", "fine", "segment"):
        for modality in ("DWI", "FLAIR", "PWI"):
            assert f"MGCL: {phase} {modality}" in log
    assert "MGCL: tss mrff: epochs 1-2" in log
    assert (fold(trained) / "phases" / "progress.png").stat().st_size > 1000


def test_results_folder_holds_what_the_design_names(trained):
    for name in ("checkpoint_final.pth", "progress.png", "phases/state.json"):
        assert (fold(trained) / name).is_file(), name
    assert not (fold(trained) / "checkpoint_latest.pth").exists()
    validation = fold(trained) / "validation"
    for name in ("summary.json", "summary_modalities.json", "tss.csv", "tss_summary.json"):
        assert (validation / name).is_file(), name
    summary = json.loads((validation / "tss_summary.json").read_text())
    assert {"ACC", "SEN", "SPE", "AUROC", "auroc_reason"} <= summary.keys()
    assert (summary["AUROC"] is None) == (summary["auroc_reason"] is not None)


def test_stock_and_mgcl_prediction_are_voxel_identical(trained, call):
    stock, mgcl = trained / "stock", trained / "mgcl"
    call(trained, "nnUNetv2_predict", "-i", images(trained), "-o", stock, "-tr", "MGCLTrainer", *MODEL, *PREDICTION)
    call(trained, "mgcl", "predict", "-i", images(trained), "-o", mgcl, *MODEL, *PREDICTION)
    assert_same_segmentations(stock, mgcl, count=2)
    assert {row["case"] for row in rows(mgcl)} == {path.name[:-7] for path in mgcl.glob("*.nii.gz")}
    for row in rows(mgcl):
        probability, path = float(row["probability"]), mgcl / f"{row['case']}.nii.gz"
        assert 0 < probability < 1 and float(row["probability_fold_0"]) == probability
        assert int(row["predicted_class"]) == (probability >= 0.5)
        volume = np.isin(voxels(path), [1, 3, 5, 7]).sum() * np.prod(sitk.ReadImage(str(path)).GetSpacing()) / 1000
        assert float(row["volume_ml_DWI"]) == pytest.approx(volume, abs=1e-3)
        assert (row["core_ml"], row["hypoperfused_ml"]) == (row["volume_ml_DWI"], row["volume_ml_PWI"])
        assert row["extend"] in ("0", "1") and (row["flair_ratio"] or "FLAIR: " in row["mismatch_reason"])


def test_evaluation_agrees_with_the_summaries_of_training(trained, monkeypatch):
    for name, folder in {"raw": "raw", "preprocessed": "pre", "results": "res"}.items():
        monkeypatch.setenv(f"nnUNet_{name}", str(trained / folder))
    assert cli.main(["evaluate", *map(str, MODEL), "-f", "0"]) == 0
    content = json.loads((fold(trained).parent / "evaluation_folds_0.json").read_text())
    validation = fold(trained) / "validation"
    means = json.loads((validation / "summary_modalities.json").read_text())["mean"]
    assert {name: own["dice"]["cases"]["mean"] for name, own in content["segmentation"].items()} == pytest.approx(means)
    tss = json.loads((validation / "tss_summary.json").read_text())
    assert content["tss"]["cases"] == tss["cases"] and content["tss"]["positive"] == tss["positive"]
    assert content["tss"]["operating_points"]["0.5"]["pooled"]["ACC"]["value"] == tss["ACC"]
    assert content["tss"]["measures"]["pooled"]["AUROC"]["value"] == tss["AUROC"]


def test_continuing_a_finished_training_trains_nothing_again(trained, call):
    before = (fold(trained) / "phases" / "state.json").read_text()
    log = call(trained, *TRAINING, "--c")
    assert "goes on from a checkpoint" in log and "epochs 1-" not in log
    assert (fold(trained) / "phases" / "state.json").read_text() == before
    assert (fold(trained) / "validation" / "tss.csv").is_file()
