"""The calibration that `mgcl evaluate` stored in a model goes with it wherever it predicts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.model_sharing.model_export import export_pretrained_model
from nnunetv2.model_sharing.model_import import install_model_from_zip_file

from nnunet_mgcl.evaluation.calibration.maps import Platt
from nnunet_mgcl.evaluation.calibration.stored import KEY, StoredCalibration
from nnunet_mgcl.system.errors import UserError
from tests.contract.models import predict, predictor, rows, save_fold


def store(model, intercept=4.0) -> StoredCalibration:
    own = StoredCalibration(
        method="platt", parameters=Platt(slope=2.0, intercept=intercept), cases=40, positive=20,
        folds=[0, 1], validation_sha256={}, reliability={},
    )  # fmt: skip
    path = Path(model) / "plans.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {KEY: own.model_dump()}))
    return own


def assert_calibrated(row, own) -> None:
    raw = [float(row["probability_fold_0"]), float(row["probability_fold_1"])]
    assert float(row["probability"]) == pytest.approx(np.mean([own.apply(p) for p in raw]), abs=1e-6)
    assert float(row["probability_raw"]) == pytest.approx(np.mean(raw), abs=1e-6)
    assert row["calibration"] == "platt"
    assert row["predicted_class"] == str(int(float(row["probability"]) >= 0.5))


def test_calibration_changes_the_probability_only(model, images, tmp_path, capsys) -> None:
    _, table = predict(model, images, tmp_path / "raw")
    raw = rows(table)
    printed = capsys.readouterr().out
    assert "uncalibrated" in printed
    assert "mgcl evaluate -d Dataset901_Tiny -tr MGCLTrainer -p nnUNetPlans -c 2d" in printed
    beside = json.loads((tmp_path / "raw" / "plans.json").read_text())
    assert beside == json.loads((Path(model) / "plans.json").read_text()) | {"mgcl_model": Path(model).name}
    own = store(model)
    _, table = predict(model, images, tmp_path / "calibrated")
    assert "calibrated (platt, from 40 cases)" in capsys.readouterr().out
    for case, row in rows(table).items():
        assert_calibrated(row, own)
        assert raw[case]["probability"] == raw[case]["probability_raw"] == row["probability_raw"]
        assert raw[case]["calibration"] == "none"
        changed = {key for key in row if row[key] != raw[case][key]}
        assert changed <= {"probability", "predicted_class", "calibration"}
        one, other = (tmp_path / name / f"{case}.nii.gz" for name in ("raw", "calibrated"))
        assert one.read_bytes() == other.read_bytes()


def test_it_travels_with_nnunet_s_export_where_stock_prediction_reads_over_it(
    model, images, tmp_path, workspace, monkeypatch
) -> None:
    own, results = store(model), workspace / "results"
    (Path(model) / "dataset_fingerprint.json").write_text("{}")
    for fold in ("fold_0", "fold_1"):
        (Path(model) / fold / "validation").mkdir()
        for name in ("progress.png", "validation/summary.json", "validation/tss.csv"):
            (Path(model) / fold / name).touch()
    export_pretrained_model(901, str(tmp_path / "model.zip"), ("2d",), "MGCLTrainer", "nnUNetPlans", (0, 1))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "elsewhere"))
    install_model_from_zip_file(str(tmp_path / "model.zip"))
    there = tmp_path / "elsewhere" / Path(model).relative_to(results)
    assert not list(there.glob("fold_*/validation/tss.csv"))
    _, table = predict(str(there), images, tmp_path / "out")
    for row in rows(table).values():
        assert_calibrated(row, own)
    (tmp_path / "stock").mkdir()
    predictor(str(there), nnUNetPredictor).predict_from_files_sequential(str(images), str(tmp_path / "stock"))
    assert len(list((tmp_path / "stock").glob("*.nii.gz"))) == 2


def test_continued_prediction_never_mixes_two_calibrations(model, images, tmp_path, monkeypatch) -> None:
    store(model)
    output = tmp_path / "out"
    predict(model, images, output)
    (output / "case_1.nii.gz").unlink()
    own = store(model, intercept=-1.0)
    _, table = predict(model, images, output, overwrite=False)
    found = rows(table)
    assert len(found) == 2
    for row in found.values():
        assert_calibrated(row, own)


def test_fold_that_was_validated_again_is_named(model, images, tmp_path, capsys) -> None:
    store(model)
    validation = Path(model) / "fold_1" / "validation"
    validation.mkdir()
    (validation / "tss.csv").write_text("case,probability\n")
    predict(model, images, tmp_path / "out")
    assert "But fold 1 has been validated again since: run mgcl evaluate" in capsys.readouterr().out


def test_model_without_a_trained_head_writes_no_table_and_leaves_none_of_an_earlier_prediction(
    make_trainer, images, tmp_path, capsys
) -> None:
    untrained = save_fold(make_trainer(labels="masks"), head_is_trained=False)
    table = tmp_path / "out" / "tss.csv"
    table.parent.mkdir()
    table.write_text("case,probability\ncase_0,0.9\n")
    with pytest.raises(UserError, match="the prediction to continue has a TSS"):
        predict(untrained, images, table.parent, folds=(0,), overwrite=False)
    assert table.exists()
    assert predict(untrained, images, table.parent, folds=(0,))[1] is None
    printed = capsys.readouterr().out
    assert "untrained" in printed and "Removed what an earlier prediction left: tss.csv" in printed
    assert len(list(table.parent.glob("*.nii.gz"))) == 2 and not list(table.parent.glob("tss*"))
