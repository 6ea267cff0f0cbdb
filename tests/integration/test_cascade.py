"""The main job on a tiny phantom, through nnU-Net's own commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_mgcl import cli
from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.report.analysis.attention_section import attention_section
from nnunet_mgcl.report.analysis.embeddings_section import embeddings_section
from nnunet_mgcl.report.analysis.perception_section import perception_section
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold
from nnunet_mgcl.system.resources import trainers_dir

MODEL = ("-d", 501, "-c", "2d", "-p", "MGCLPlans_demo")
PREDICTION = ("-f", 0, "-device", "cpu", "-npp", 1, "-nps", 1, "--disable_progress_bar")
TRAINING = ("nnUNetv2_train", 501, "2d", 0, "-tr", "MGCLTrainer", "-p", "MGCLPlans_demo", "-device", "cpu")
TINY = [
    *(f"{phase}.epochs=1" for phase in ("seed", "self_train", "fine")), "coarse.epochs=2", "coarse.batch_size=8",
    "segment.epochs=2", "segment.iterations=4", "segment.val_iterations=1", "tss.epochs=2",
    "tss.head=mrff", 'tss.compared=["lesion"]', "configuration.batch_size=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory, call) -> Path:
    root = tmp_path_factory.mktemp("cascade")
    numbers = ("--cases", 6, "--unlabelled", 6, "--test", 2, "--matrix", 32, "--slices", 6)
    call(root, "mgcl", "phantom", "-o", root / "raw", *numbers)
    call(root, "nnUNetv2_plan_and_preprocess", "-d", 501, "-c", "2d", "-np", 1, "-npfp", 1)
    call(root, "mgcl", "plan", "-d", 501, "-c", "2d", "--preset", "demo", "--set", *TINY)
    log = call(root, *TRAINING)
    (root / "log.txt").write_text(log)
    return root


def fold(root: Path) -> Path:
    return root / "res" / "Dataset501_Phantom" / "MGCLTrainer__MGCLPlans_demo__2d" / "fold_0"


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
    images = trained / "raw" / "Dataset501_Phantom" / "imagesTs"
    call(trained, "nnUNetv2_predict", "-i", images, "-o", trained / "stock", "-tr", "MGCLTrainer", *MODEL, *PREDICTION)
    call(trained, "mgcl", "predict", "-i", images, "-o", trained / "mgcl", *MODEL, *PREDICTION)
    segmentations = sorted(path.name for path in (trained / "stock").glob("*.nii.gz"))
    assert len(segmentations) == 2
    for name in segmentations:
        stock, mgcl = (sitk.ReadImage(str(trained / folder / name)) for folder in ("stock", "mgcl"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(stock), sitk.GetArrayFromImage(mgcl))
        assert mgcl.GetOrigin() == stock.GetOrigin() and mgcl.GetDirection() == stock.GetDirection()

    with (trained / "mgcl" / "tss.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert set(rows) == {name.removesuffix(".nii.gz") for name in segmentations}
    for case, row in rows.items():
        probability = float(row["probability"])
        assert 0 < probability < 1 and float(row["probability_fold_0"]) == probability
        assert int(row["predicted_class"]) == (probability >= 0.5)
        image = sitk.ReadImage(str(trained / "mgcl" / f"{case}.nii.gz"))
        voxels = np.isin(sitk.GetArrayFromImage(image), [1, 3, 5, 7]).sum()
        assert float(row["volume_ml_DWI"]) == pytest.approx(voxels * np.prod(image.GetSpacing()) / 1000, abs=1e-3)
        assert (row["core_ml"], row["hypoperfused_ml"]) == (row["volume_ml_DWI"], row["volume_ml_PWI"])
        assert row["extend"] in ("0", "1") and (row["flair_ratio"] or "FLAIR: " in row["mismatch_reason"])


def test_summary_prints_the_evaluation_and_draws_a_picture(trained, call):
    printed = call(trained, "mgcl", "summary", *MODEL, "-f", 0, COLUMNS="120")
    for word in ("DWI", "FLAIR", "PWI", "Dice", "ACC", "overlay.png"):
        assert word in printed
    assert (fold(trained) / "validation" / "overlay.png").stat().st_size > 10_000


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


@pytest.fixture
def taken_apart(trained, monkeypatch) -> TrainedFold:
    for name, folder in {"raw": "raw", "preprocessed": "pre", "results": "res"}.items():
        monkeypatch.setenv(f"nnUNet_{name}", str(trained / folder))
    monkeypatch.setenv("nnUNet_extTrainer", str(trainers_dir()))
    run = ValidatedRun.find(DatasetLayout.find(501), fold(trained).parent, ["0"])
    return TrainedFold(run, 0, torch.device("cpu"))


def test_contrast_s_representations_are_shown_before_and_after_it(trained, taken_apart):
    section = embeddings_section(taken_apart)
    shown = {(table.caption.split(":")[0].lower(), row[0]): row for table in section.tables for row in table.rows}
    log = (trained / "log.txt").read_text()
    for phase in ("coarse", "fine"):
        for modality in ("DWI", "FLAIR", "PWI"):
            skipped = f"{phase} {modality}: skipped" in log
            assert ((phase, modality) in shown) != skipped
            assert any(text.startswith(f"{modality}: {phase} was skipped") for text in section.text) == skipped
    assert all(row[1] == "after segment" and row[-1] == "2" for row in shown.values())


def test_trained_fold_shows_what_it_perceives_and_attends_to(taken_apart):
    (table,) = perception_section(taken_apart).tables
    rows = {row[0]: row[1:] for row in table.rows}
    for branch in taken_apart.branches:
        assert rows[f"{branch.name}, randomly initialised"] != rows[f"{branch.name}, trained"]
        assert (f"{branch.name}, after coarse" in rows) == (taken_apart.why_not(branch, "coarse") is None)
    (shares,) = attention_section(taken_apart).tables
    for row in shares.rows:
        assert sum(float(cell.split(" ± ")[0]) for cell in row[1:]) == pytest.approx(1, abs=2e-3)


def test_validation_with_the_best_checkpoint_has_no_tss(trained, call):
    log = call(trained, *TRAINING, "--val", "--val_best", "--npz")
    assert "MGCL: no TSS written, the head of this checkpoint is untrained (checkpoint_best)" in log
    validation = fold(trained) / "validation"
    assert not list(validation.glob("tss*")) and len(list(validation.glob("*.npz"))) == 2


def test_continuing_a_finished_training_trains_nothing_again(trained, call):
    before = (fold(trained) / "phases" / "state.json").read_text()
    log = call(trained, *TRAINING, "--c")
    assert "goes on from a checkpoint" in log and "epochs 1-" not in log
    assert (fold(trained) / "phases" / "state.json").read_text() == before
    assert (fold(trained) / "validation" / "tss.csv").is_file()


def test_another_configuration_may_not_move_into_the_results_folder(trained, call, run):
    call(trained, "mgcl", "plan", "-d", 501, "-c", "2d", "--preset", "demo", "--overwrite")
    done = run(trained, *TRAINING)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "plans.json" in done.stderr and "--plans-name" in done.stderr
