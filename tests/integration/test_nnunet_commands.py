"""nnU-Net's other commands, each once, on a model with shared labels, two channels, a TSS head and two folds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from tests.integration.phantom import (
    MODEL,
    NAME,
    assert_same_segmentations,
    images,
    make_phantom,
    model,
    plan,
    rows,
    train,
    voxels,
)

CPU = ("-device", "cpu", "--disable_progress_bar", "--disable_tta")
SEQUENTIAL = ("-npp", 0, "-nps", 0)
TINY = [
    *(f"{phase}.epochs=1" for phase in ("seed", "self_train", "fine", "coarse")), "coarse.batch_size=8",
    "segment.epochs=2", "segment.iterations=2", "segment.val_iterations=1", "tss.epochs=2",
    "configuration.batch_size=4",
]  # fmt: skip
DEMO = ("--preset", "demo", "--set", *TINY)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def planned(tmp_path_factory, call) -> Path:
    """A phantom whose channels share one label `lesion`."""
    root = tmp_path_factory.mktemp("commands")
    raw = make_phantom(root, call, cases=8, unlabelled=4, test=3)
    for number in (1, 3):  # ADC and Tmax
        for path in raw.rglob(f"*_{number:04d}.nii.gz"):
            path.unlink()
    for path in raw.rglob("*_0002.nii.gz"):
        path.rename(path.with_name(path.name.replace("_0002.", "_0001.")))
    for path in (raw / "labelsTr").iterdir():
        sitk.WriteImage(sitk.Cast(sitk.ReadImage(str(path)) > 0, sitk.sitkUInt8), str(path))
    dataset = json.loads((raw / "dataset.json").read_text())
    dataset |= {"channel_names": {"0": "DWI", "1": "FLAIR"}, "labels": {"background": 0, "lesion": 1}}
    del dataset["mgcl"]
    (raw / "dataset.json").write_text(json.dumps(dataset))
    plan(root, call, *TINY)
    cases = sorted(path.name.removesuffix(".nii.gz") for path in (raw / "labelsTr").iterdir())
    splits = [{"train": cases[0::2], "val": cases[1::2]}, {"train": cases[1::2], "val": cases[0::2]}]
    (root / "pre" / NAME / "splits_final.json").write_text(json.dumps(splits))
    return root


@pytest.fixture(scope="module")
def trained(planned, call) -> Path:
    for trainer in ("MGCLTrainer", "MGCLTrainerRandomInit"):
        for fold in (0, 1):
            call(planned, *train(fold, trainer, "--npz"))
    return planned


@pytest.fixture(scope="module")
def whole(trained, call) -> Path:
    """The test cases as one command predicts them."""
    call(trained, "mgcl", "predict", "-i", images(trained), "-o", trained / "whole", *MODEL, "-f", 0, 1, *CPU,
         *SEQUENTIAL)  # fmt: skip
    return trained / "whole"


def train_and_predict(root: Path, call, configuration: str, plans: str) -> None:
    """The whole cascade of fold 0, and both commands' predictions."""
    call(root, "nnUNetv2_train", 501, configuration, 0, "-tr", "MGCLTrainer", "-p", plans, "-device", "cpu")
    predict = ("-i", images(root), "-d", 501, "-c", configuration, "-p", plans, "-tr", "MGCLTrainer", "-f", 0, *CPU)
    call(root, "nnUNetv2_predict", "-o", root / f"{plans}_stock", *predict, *SEQUENTIAL)
    call(root, "mgcl", "predict", "-o", root / f"{plans}_mgcl", *predict, *SEQUENTIAL)
    assert_same_segmentations(root / f"{plans}_stock", root / f"{plans}_mgcl")
    assert len(rows(root / f"{plans}_mgcl")) == 3


def test_best_configuration_ensemble_and_postprocessing(trained, call):
    trainers = ("MGCLTrainer", "MGCLTrainerRandomInit")
    log = call(trained, "nnUNetv2_find_best_configuration", 501, "-c", "2d", "-p", "MGCLPlans_demo", "-tr", *trainers,
               "-f", 0, 1, "-np", 1)  # fmt: skip
    assert "*Best*" in log
    assert len(list((trained / "res" / NAME / "ensembles").iterdir())) == 1
    best = json.loads((trained / "res" / NAME / "inference_information.json").read_text())["best_model_or_ensemble"]
    folders = [trained / f"member_{trainer}" for trainer in trainers]
    for trainer, folder in zip(trainers, folders, strict=True):
        call(trained, "mgcl", "predict", "-i", images(trained), "-o", folder, *MODEL, "-tr", trainer, "-f", 0, 1, *CPU,
             *SEQUENTIAL, "--save_probabilities")  # fmt: skip
    call(trained, "nnUNetv2_ensemble", "-i", *folders, "-o", trained / "ensemble", "-np", 1)
    call(trained, "nnUNetv2_apply_postprocessing", "-i", trained / "ensemble", "-o", trained / "final", "-np", 1,
         "-pp_pkl_file", best["postprocessing_file"], "-plans_json", best["some_plans_file"],
         "-dataset_json", trained / "ensemble" / "dataset.json")  # fmt: skip
    case = rows(folders[0])[0]["case"]
    members = [np.load(folder / f"{case}.npz")["probabilities"] for folder in folders]
    np.testing.assert_array_equal(voxels(trained / "ensemble" / f"{case}.nii.gz"), np.mean(members, axis=0).argmax(0))
    assert len(list((trained / "final").glob("*.nii.gz"))) == 3


def test_validation_again_with_the_final_and_with_the_best_checkpoint(trained, call):
    validation = model(trained) / "fold_0" / "validation"
    first = {name: (validation / name).read_text() for name in ("tss.csv", "tss_summary.json", "summary.json")}
    for path in validation.iterdir():
        path.unlink()
    log = call(trained, *train(0, "MGCLTrainer", "--val", "--val_best"))
    assert "MGCL: no TSS written, the head of this checkpoint is untrained (checkpoint_best)" in log
    assert (validation / "summary.json").is_file() and not list(validation.glob("tss*"))
    call(trained, *train(0, "MGCLTrainer", "--val", "--npz"))
    assert {name: (validation / name).read_text() for name in first} == first
    assert len(list(validation.glob("*.npz"))) == 4


def test_training_without_checkpoints_validates_all_the_same(planned, call):
    results = {"nnUNet_results": str(planned / "unsaved")}
    call(planned, *train(0, "MGCLTrainerRandomInit", "--disable_checkpointing"), **results)
    fold = model(planned, "MGCLTrainerRandomInit", "unsaved") / "fold_0"
    assert not list(fold.glob("*.pth"))
    for name in ("summary.json", "tss.csv", "tss_summary.json"):
        assert (fold / "validation" / name).is_file(), name
    log = call(planned, *train(0, "MGCLTrainerRandomInit", "--c"), **results)
    assert "no checkpoint available" in log and "MGCL: tss mrff: epochs 1-2" in log, "its encoders are new ones"


def test_fold_all_runs_the_whole_cascade_and_is_predicted_with(planned, call):
    log = call(planned, *train("all"))
    for phase in ("seed", "pseudo_label_1", "self_train", "pseudo_label_2", "coarse", "fine", "segment"):
        assert f"MGCL: {phase} DWI" in log and f"MGCL: {phase} FLAIR" in log
    predict = ("-i", images(planned), *MODEL, "-tr", "MGCLTrainer", "-f", "all", *CPU, *SEQUENTIAL)
    call(planned, "nnUNetv2_predict", "-o", planned / "all_stock", *predict)
    call(planned, "mgcl", "predict", "-o", planned / "all_mgcl", *predict)
    assert_same_segmentations(planned / "all_stock", planned / "all_mgcl")
    assert all(row["probability"] == row["probability_fold_all"] for row in rows(planned / "all_mgcl"))


def test_model_travels_as_a_zip_to_a_machine_with_only_this_package(trained, whole, call, environment, tmp_path):
    archive = trained / "model.zip"
    call(trained, "nnUNetv2_export_model_to_zip", "-d", 501, "-o", archive, "-c", "2d", "-tr", "MGCLTrainer", "-p",
         "MGCLPlans_demo", "-f", 0, 1)  # fmt: skip
    (tmp_path / "results").mkdir()
    trainers = next(environment.glob("lib/python*/site-packages/nnunet_mgcl/_trainers"))
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    variables |= {"nnUNet_results": str(tmp_path / "results"), "nnUNet_extTrainer": str(trainers)}

    def there(function: str, *words: object) -> None:
        module, name = function.rsplit(".", 1)
        code = f"from {module} import {name}; raise SystemExit({name}())"
        command = [str(word) for word in (environment / "bin" / "python", "-c", code, *words)]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr

    there("nnunetv2.model_sharing.entry_points.install_from_zip_entry_point", archive)
    predict = ("-i", images(trained), *MODEL, "-tr", "MGCLTrainer", "-f", 0, 1, *CPU, *SEQUENTIAL)
    there("nnunetv2.inference.predict_from_raw_data.predict_entry_point", "-o", tmp_path / "stock", *predict)
    there("nnunet_mgcl.cli.main", "predict", "-o", tmp_path / "mgcl", *predict)
    assert_same_segmentations(tmp_path / "stock", whole)
    assert_same_segmentations(tmp_path / "mgcl", whole)
    assert (tmp_path / "mgcl" / "tss.csv").read_text() == (whole / "tss.csv").read_text()


def test_residual_encoders_of_nnunet_s_own_planner(planned, call):
    call(planned, "nnUNetv2_plan_experiment", "-d", 501, "-pl", "nnUNetPlannerResEncM")
    call(planned, "mgcl", "plan", "-d", 501, "-c", "2d", "-p", "nnUNetResEncUNetMPlans", "-o", "ResEncM", *DEMO)
    train_and_predict(planned, call, "2d", "ResEncM")
    plans = json.loads((planned / "res" / NAME / "MGCLTrainer__ResEncM__2d" / "plans.json").read_text())
    network = plans["configurations"]["2d"]["architecture"]["network_class_name"]
    assert network.endswith("ResidualEncoderUNet")


def test_pretrained_weights_of_a_finished_model(trained, call):
    weights = model(trained) / "fold_0" / "checkpoint_final.pth"
    log = call(trained, *train(1, "MGCLTrainer", "-pretrained_weights", weights), nnUNet_results=str(trained / "tuned"))
    assert "MGCL: starts at segment, with the weights of -pretrained_weights" in log
    assert "MGCL: tss mrff: epochs 1-2" in log and "MGCL: seed" not in log
    assert rows(model(trained, results="tuned") / "fold_1" / "validation")


KILLED_AFTER_THE_SECOND_ROW = """
import os, signal
from nnunet_mgcl.cli import main
from nnunet_mgcl.inference.tss_report import TSSReport
write = TSSReport.write
def write_and_die(report):
    write(report)
    if len(report.rows) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
TSSReport.write = write_and_die
main()
"""


def test_prediction_that_was_killed_goes_on_to_the_same_result(trained, whole, call, run, tmp_path):
    predict = ["predict", "-i", images(trained), "-o", tmp_path / "out", *MODEL, "-f", 0, 1, *CPU, *SEQUENTIAL]
    killed = run(trained, sys.executable, "-c", KILLED_AFTER_THE_SECOND_ROW, *predict)
    assert killed.returncode == -signal.SIGKILL
    assert len(rows(tmp_path / "out")) == 2
    log = call(trained, "mgcl", *predict, "--continue_prediction")
    assert "1 of 3 cases are predicted already" in log  # the second has a row and no segmentation
    assert_same_segmentations(tmp_path / "out", whole)
    assert (tmp_path / "out" / "tss.csv").read_text() == (whole / "tss.csv").read_text()
