"""`MGCLPredictor` on raw images: nnU-Net's segmentations, and a row of tss.csv for every case."""

from __future__ import annotations

import csv
import gzip
import json
import signal
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.model_sharing.model_export import export_pretrained_model
from nnunetv2.model_sharing.model_import import install_model_from_zip_file

from nnunet_mgcl.cli import main
from nnunet_mgcl.evaluation.calibration.maps import Platt
from nnunet_mgcl.evaluation.calibration.stored import KEY, StoredCalibration
from nnunet_mgcl.inference.input_folder import read_images
from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
from nnunet_mgcl.inference.parts import Part
from nnunet_mgcl.mismatch.case_mismatch import mismatch_columns
from nnunet_mgcl.mismatch.roles import Roles
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.tss.phase import tss_probability, volume_geometry
from nnunet_mgcl.tss.volumes import fit_volume

CASES = ["case_0", "case_1"]
OPTIONS = {
    "save_probabilities": False,
    "npp": 0,
    "nps": 0,
    "prev_stage": None,
}

WHOLE = Part()


def predictor(model, predictor_class=MGCLPredictor, folds=(0, 1)):
    predictor = predictor_class(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(model, folds, "checkpoint_final.pth")
    return predictor


def predict_with(used, images, output, part=WHOLE, overwrite=True):
    """Predicts a folder with a predictor."""
    output.mkdir(exist_ok=True)
    read = read_images(images, used.dataset_json, "SimpleITKIO")
    return used.predict_cases(read, output, part, overwrite=overwrite, **OPTIONS)


def predict(model, images, output, **options):
    used = predictor(model)
    return used, predict_with(used, images, output, **options)


def rows(path):
    with path.open() as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_segmentations_are_nnunet_s_and_every_fold_answers_for_every_case(model, images, tmp_path) -> None:
    used, table = predict(model, images, tmp_path / "ours")
    (tmp_path / "stock").mkdir()
    predictor(model, nnUNetPredictor).predict_from_files_sequential(str(images), str(tmp_path / "stock"))
    for case in CASES:
        ours, stock = ((tmp_path / folder / f"{case}.nii.gz").read_bytes() for folder in ("ours", "stock"))
        assert ours == stock
    found = rows(table)
    assert list(found) == CASES
    preprocessor = used.configuration_manager.preprocessor_class(verbose=False)
    for case in CASES:
        files = [str(images / f"{case}_{channel:04}.nii.gz") for channel in range(3)]
        image, *_ = preprocessor.run_case(
            files, None, used.plans_manager, used.configuration_manager, used.dataset_json
        )
        expected = []
        for weights in used.list_of_parameters:
            used.network.load_state_dict(weights)
            expected.append(
                tss_probability(used.network, torch.from_numpy(image), used.config, used.configuration_manager)
            )
        assert expected[0] != expected[1]
        for fold, probability in enumerate(expected):
            assert float(found[case][f"probability_fold_{fold}"]) == pytest.approx(probability, abs=1e-5)
        assert float(found[case]["probability"]) == pytest.approx(sum(expected) / 2, abs=1e-5)
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "ours" / f"{case}.nii.gz")))
        for modality, lesion in used.config.lesion_labels.items():
            volume = np.isin(labels, lesion).sum() * 3 * 3 * 6 / 1000
            assert float(found[case][f"volume_ml_{modality}"]) == pytest.approx(volume, abs=1e-3)


def test_table_ends_with_what_mgcl_mismatch_says_about_the_predicted_lesions(model, images, tmp_path) -> None:
    used = predictor(model)
    used.roles = Roles({"FLAIR": 1}, {"DWI": used.config.lesion_labels["A"], "PWI": used.config.lesion_labels["B"]})
    found = rows(predict_with(used, images, tmp_path / "out"))
    command = ["mismatch", "-i", str(images), "-s", str(tmp_path / "out"), "-o", str(tmp_path / "mismatch"), "-np", "1"]
    assert main([*command, "--channels", "FLAIR=1", "--masks", "DWI=A", "PWI=B"]) == 0
    columns = mismatch_columns(used.roles)
    assert "flair_ratio" in columns and "extend" in columns
    for case, expected in rows(tmp_path / "mismatch" / "mismatch.csv").items():
        assert list(found[case])[-len(columns) :] == list(columns)
        assert {column: found[case][column] for column in columns} == {c: expected[c] for c in columns}
        assert (expected["core_ml"], expected["hypoperfused_ml"]) == (
            found[case]["volume_ml_A"], found[case]["volume_ml_B"]
        )  # fmt: skip
        assert "FLAIR:" in expected["mismatch_reason"]  # noise is no head


def test_model_without_the_channels_has_no_such_columns(model, images, tmp_path) -> None:
    _, table = predict(model, images, tmp_path / "out")
    assert list(rows(table)["case_0"])[-1].startswith("volume_ml_")


def test_continued_prediction_redoes_a_case_that_lacks_either_file(model, images, tmp_path, monkeypatch) -> None:
    output = tmp_path / "out"
    _, table = predict(model, images, output)
    first = rows(table)
    done = []
    logits = MGCLPredictor.predict_logits_from_preprocessed_data
    monkeypatch.setattr(
        MGCLPredictor,
        "predict_logits_from_preprocessed_data",
        lambda self, data: (done.append(1), logits(self, data))[1],
    )

    predict(model, images, output, overwrite=False)
    assert len(done) == 0

    (output / "case_1.nii.gz").unlink()
    predict(model, images, output, overwrite=False)
    assert len(done) == 1 and (output / "case_1.nii.gz").is_file()

    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[2], ""]))  # the row of case_0 is lost
    predict(model, images, output, overwrite=False)
    assert len(done) == 2
    assert rows(table) == first


def test_killed_prediction_is_continued_to_the_same_files(model, images, tmp_path) -> None:
    """Killed while the second case was written, of which half a file remained."""
    _, whole = predict(model, images, tmp_path / "whole")
    used, table = predict(model, images, tmp_path / "out")
    for row in used.report.rows.values():
        row |= {column: "" for column in row if column.startswith("volume_ml")}
    used.report.write()
    half = tmp_path / "out" / "case_1.nii.gz"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    predict(model, images, tmp_path / "out", overwrite=False)
    assert table.read_text() == whole.read_text()
    for case in CASES:
        one, other = (sitk.ReadImage(str(tmp_path / folder / f"{case}.nii.gz")) for folder in ("out", "whole"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))


def test_new_prediction_leaves_no_table_of_an_earlier_one_while_it_lasts(model, images, tmp_path, monkeypatch) -> None:
    def killed(*_):
        raise KeyboardInterrupt

    _, table = predict(model, images, tmp_path / "out")
    monkeypatch.setattr(MGCLPredictor, "predict_logits_from_preprocessed_data", killed)
    with pytest.raises(KeyboardInterrupt):
        predict(model, images, tmp_path / "out")
    assert not table.exists()


def test_parts_share_the_cases_in_any_order_without_worker_processes_too(model, images, tmp_path) -> None:
    _, whole = predict(model, images, tmp_path / "whole")
    output = tmp_path / "out"
    _, table = predict(model, images, output, part=Part(1, 2))
    assert table is None and [path.name for path in output.glob("*.nii.gz")] == ["case_1.nii.gz"]
    _, table = predict(model, images, output, part=Part(0, 2))
    assert table.read_text() == whole.read_text()
    _, table = predict(model, images, output)
    assert table.read_text() == whole.read_text()
    assert not list(output.glob("tss_part*")), "they would be joined with the parts of a later prediction"


class TestCalibration:
    @staticmethod
    def store(model, intercept=4.0) -> StoredCalibration:
        own = StoredCalibration(
            method="platt", parameters=Platt(slope=2.0, intercept=intercept), cases=40, positive=20,
            folds=[0, 1], validation_sha256={}, reliability={},
        )  # fmt: skip
        path = Path(model) / "plans.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {KEY: own.model_dump()}))
        return own

    @staticmethod
    def assert_calibrated(row, own) -> None:
        raw = [float(row["probability_fold_0"]), float(row["probability_fold_1"])]
        assert float(row["probability"]) == pytest.approx(np.mean([own.apply(p) for p in raw]), abs=1e-6)
        assert float(row["probability_raw"]) == pytest.approx(np.mean(raw), abs=1e-6)
        assert row["calibration"] == "platt"
        assert row["predicted_class"] == str(int(float(row["probability"]) >= 0.5))

    def test_calibration_changes_the_probability_only(self, model, images, tmp_path, capsys) -> None:
        _, table = predict(model, images, tmp_path / "raw")
        raw = rows(table)
        printed = capsys.readouterr().out
        assert "uncalibrated" in printed
        assert "mgcl evaluate -d Dataset901_Tiny -tr MGCLTrainer -p nnUNetPlans -c 2d" in printed
        beside = json.loads((tmp_path / "raw" / "plans.json").read_text())
        assert beside == json.loads((Path(model) / "plans.json").read_text()) | {"mgcl_model": Path(model).name}
        own = self.store(model)
        _, table = predict(model, images, tmp_path / "calibrated")
        assert (
            "calibrated (platt, from 40 cases); probability_raw and probability_fold_* are not\n"
            in capsys.readouterr().out
        )
        for case, row in rows(table).items():
            self.assert_calibrated(row, own)
            assert raw[case]["probability"] == raw[case]["probability_raw"] == row["probability_raw"]
            assert raw[case]["calibration"] == "none"
            changed = ("probability", "predicted_class", "calibration")
            assert {k: v for k, v in row.items() if k not in changed} == {
                k: v for k, v in raw[case].items() if k not in changed
            }
            one, other = (tmp_path / name / f"{case}.nii.gz" for name in ("raw", "calibrated"))
            assert one.read_bytes() == other.read_bytes()

    def test_it_travels_with_nnunet_s_export_where_stock_prediction_reads_over_it(
        self, model, images, tmp_path, workspace, monkeypatch
    ) -> None:
        own, results = self.store(model), workspace / "results"
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
            self.assert_calibrated(row, own)
        (tmp_path / "stock").mkdir()
        predictor(str(there), nnUNetPredictor).predict_from_files_sequential(str(images), str(tmp_path / "stock"))
        assert len(list((tmp_path / "stock").glob("*.nii.gz"))) == 2

    def test_continued_prediction_never_mixes_two_calibrations(self, model, images, tmp_path, monkeypatch) -> None:
        self.store(model)
        output = tmp_path / "out"
        predict(model, images, output)
        (output / "case_1.nii.gz").unlink()
        own = self.store(model, intercept=-1.0)
        _, table = predict(model, images, output, overwrite=False)
        found = rows(table)
        assert list(found) == CASES
        for row in found.values():
            self.assert_calibrated(row, own)

    def test_fold_that_was_validated_again_is_named(self, model, images, tmp_path, capsys) -> None:
        self.store(model)
        validation = Path(model) / "fold_1" / "validation"
        validation.mkdir()
        (validation / "tss.csv").write_text("case,probability\n")
        predict(model, images, tmp_path / "out")
        assert "But fold 1 has been validated again since: run mgcl evaluate" in capsys.readouterr().out

    def test_broken_calibration_is_refused_before_anything_is_predicted(self, model) -> None:
        self.store(model)
        path = Path(model) / "plans.json"
        path.write_text(path.read_text().replace('"slope": 2.0', '"slope": "two"'))
        with pytest.raises(UserError, match=r"plans\.json, mgcl_calibration\.parameters"):
            predictor(model)


class TestModelWithoutATrainedHead:
    @pytest.fixture
    def untrained(self, make_trainer):
        trainer = make_trainer(labels="masks")
        trainer.initialize()
        trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
        for file, content in (("plans", trainer.plans_manager.plans), ("dataset", trainer.dataset_json)):
            (Path(trainer.output_folder_base) / f"{file}.json").write_text(json.dumps(content))
        return trainer.output_folder_base

    def predict(self, model, images, output, overwrite=True):
        return predict_with(predictor(model, folds=(0,)), images, output, overwrite=overwrite)

    def test_it_is_predicted_without_a_table(self, untrained, images, tmp_path, capsys) -> None:
        assert self.predict(untrained, images, tmp_path / "out") is None
        assert "untrained" in capsys.readouterr().out
        assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == [f"{case}.nii.gz" for case in CASES]
        assert not list((tmp_path / "out").glob("tss*"))

    def test_table_of_an_earlier_prediction_does_not_look_like_its_own(
        self, untrained, images, tmp_path, capsys
    ) -> None:
        table = tmp_path / "out" / "tss.csv"
        table.parent.mkdir()
        table.write_text("case,probability\ncase_0,0.9\n")
        with pytest.raises(UserError, match="the prediction to continue has a TSS"):
            self.predict(untrained, images, table.parent, overwrite=False)
        assert table.exists()
        self.predict(untrained, images, table.parent)
        assert not table.exists()
        assert "Removed what an earlier prediction left: tss.csv" in capsys.readouterr().out


class TestModelFolder:
    """`mgcl predict -m`, which nnUNetv2_predict_from_modelfolder is the stock counterpart of."""

    COMMAND = ("-f", "0", "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_tta", "--disable_progress_bar")

    def test_nothing_but_the_folder_is_needed(self, model, images, tmp_path, monkeypatch) -> None:
        for variable in ("raw", "preprocessed", "results", "extTrainer"):
            monkeypatch.delenv(f"nnUNet_{variable}")
        assert main(["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", model, *self.COMMAND]) == 0
        assert list(rows(tmp_path / "out" / "tss.csv")) == CASES

    @pytest.mark.parametrize(
        ("words", "message"),
        [(["-c", "2d"], "together with -c"), (["-f", "3"], r"choose with -f among \['fold_0', 'fold_1'\]")],
    )
    def test_what_does_not_fit_it_is_refused(self, model, images, tmp_path, words, message) -> None:
        with pytest.raises(SystemExit, match=message):
            main(["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", model, *self.COMMAND, *words])

    def test_told_to_end_it_ends_in_order(self, model, images, tmp_path, monkeypatch) -> None:
        """`tests/unit/system/test_workers.py` has what becomes of nnU-Net's processes then."""
        monkeypatch.setattr(MGCLPredictor, "predict_cases", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
        monkeypatch.setattr("nnunet_mgcl.system.workers.active_children", list)
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            with pytest.raises(SystemExit) as end:
                main(["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", model, *self.COMMAND])
        finally:
            signal.signal(signal.SIGTERM, before)
        assert end.value.code == 128 + signal.SIGTERM

    def test_dataset_needs_a_configuration(self, images, tmp_path) -> None:
        with pytest.raises(SystemExit, match="add -c"):
            main(["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-d", "901", *self.COMMAND])


class TestInputFolder:
    """nnU-Net ends such folders in an IndexError, predicts nothing, or takes a channel for another."""

    def predict(self, model, images, output) -> None:
        main(["predict", "-i", str(images), "-o", str(output), "-m", model, "-f", "0", "-device", "cpu"])

    @pytest.mark.parametrize(
        ("source", "target", "message"),
        [
            ("case_1_0002.nii.gz", None, r"case case_1\n  found:    channels \[0, 1\]\n  expected: .*2: 'PWI'"),
            ("case_1_0002.nii.gz", "case_1_0003.nii.gz", r"case case_1\n  found:    channels \[0, 1, 3\]"),
            ("case_1_0002.nii.gz", "case_1.nii.gz", r"found:    the name case_1\.nii\.gz"),
        ],
    )
    def test_case_with_other_channels_is_refused(self, model, images, tmp_path, source, target, message) -> None:
        if target:
            (images / source).rename(images / target)
        else:
            (images / source).unlink()
        with pytest.raises(SystemExit, match=message):
            self.predict(model, images, tmp_path / "output")
        assert not (tmp_path / "output").exists()

    def test_empty_folder_is_refused(self, model, tmp_path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(SystemExit, match=r"no image[\s\S]*CASE_CCCC\.nii\.gz"):
            self.predict(model, tmp_path / "empty", tmp_path / "output")

    def test_output_among_the_images_is_refused(self, model, images) -> None:
        with pytest.raises(SystemExit, match="the folder of -i"):
            self.predict(model, images, images.parent / "." / images.name)

    def test_one_file_may_hold_all_channels_where_the_reader_says_so(self, dataset_json, tmp_path) -> None:
        (tmp_path / "photo_0000.png").touch()
        read_images(tmp_path, dataset_json | {"file_ending": ".png"}, "NaturalImage2DIO")


class TestUselessImages:
    """A segmentation of an image that its reader has made up would be a silent mistake."""

    def predict(self, model, images, output) -> None:
        words = ["predict", "-m", str(model), "-i", str(images), "-o", str(output), "-f", "0", "1", "-device", "cpu"]
        main([*words, "-npp", "0", "-nps", "0", "--disable_tta"])

    def header(self, path, place, form, number) -> None:
        content = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into(form, content, place, number)
        path.write_bytes(gzip.compress(content))

    @pytest.mark.parametrize(
        ("place", "form", "number", "found"),
        [
            (80, "<f", 0, "a spacing of 0 x 3 x 6 mm"),
            (84, "<f", np.nan, "a spacing of 3 x nan x 6 mm"),
            (88, "<f", np.inf, "a spacing of 3 x 3 x inf mm"),
            (80, "<f", -3, "a spacing of -3 x 3 x 6 mm"),
            (80, "<f", 1e-3, "a spacing of 0.001 x 3 x 6 mm"),
            (42, "<h", 0, "a size of 0 x 32 x 6 voxels"),
        ],
    )
    def test_geometry_is_looked_at_before_anything_is_predicted(
        self, model, images, tmp_path, place, form, number, found
    ) -> None:
        self.header(images / "case_1_0002.nii.gz", place, form, number)
        with pytest.raises(SystemExit) as refusal:
            self.predict(model, images, tmp_path / "out")
        error = refusal.value.__cause__
        assert error.where == str(images / "case_1_0002.nii.gz") and error.found == found
        assert not list(tmp_path.glob("out/*.nii.gz"))

    def test_truncated_image_whose_end_the_reader_would_take_for_zeros(self, model, images, tmp_path) -> None:
        path = images / "case_1_0000.nii.gz"
        path.write_bytes(path.read_bytes()[:5000])
        assert sitk.ReadImage(str(path)).GetSize() == (32, 32, 6)
        with pytest.raises(SystemExit, match=r"case_1_0000\.nii\.gz\n +found: +cannot be read"):
            self.predict(model, images, tmp_path / "out")

    def test_values_that_normalisation_loses_are_refused_with_the_case(self, model, images, tmp_path) -> None:
        """A slope in the header makes such values of any scan; nnU-Net normalises them to zeros or NaN."""
        self.header(images / "case_1_0000.nii.gz", 112, "<f", 1e30)
        with pytest.raises(SystemExit) as refusal:
            self.predict(model, images, tmp_path / "out")
        assert refusal.value.__cause__.where == "case case_1"
        assert "after normalisation (channel 0 of 3)" in refusal.value.__cause__.found
        assert "--continue_prediction" in refusal.value.__cause__.remedy
        assert not (tmp_path / "out" / "case_1.nii.gz").exists()
        assert list(rows(tmp_path / "out" / "tss.csv")) == ["case_0"]


def test_segmentation_that_a_full_disk_cut_off_is_no_success(model, images, tmp_path, monkeypatch) -> None:
    write = SimpleITKIO.write_seg

    def write_a_part(self, seg, output, properties) -> None:
        write(self, seg, output, properties)
        content = Path(output).read_bytes()
        Path(output).write_bytes(content[: len(content) // 2])

    with (
        monkeypatch.context() as full_disk,
        pytest.raises(UserError, match=r"case_0\.nii\.gz\n[\s\S]*free some space"),
    ):
        full_disk.setattr(SimpleITKIO, "write_seg", write_a_part)
        predict(model, images, tmp_path / "out")
    _, table = predict(model, images, tmp_path / "out", overwrite=False)  # the remedy
    assert list(rows(table)) == CASES


def test_padded_slices_of_a_short_volume_are_masked(model) -> None:
    """The head's volume has 6 slices; a case of 3 must not depend on what fills it up."""
    used = predictor(model)
    network = used.network.eval()
    image = torch.randn(3, 3, 32, 32)
    volume, valid = fit_volume(image, volume_geometry(used.config, is_3d=False))
    poisoned = volume.clone()
    poisoned[:, 3:] = 50
    with torch.no_grad():
        plain, other = (network.tss(network.tss_features(v[None], 100), valid[None]) for v in (volume, poisoned))
    assert torch.equal(plain, other)
