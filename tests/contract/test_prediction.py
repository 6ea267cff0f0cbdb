"""`FolderPredictor` on raw images: nnU-Net's segmentations, and a row of tss.csv for every case."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_mgcl.cli import main
from nnunet_mgcl.inference.folder_predictor import FolderPredictor
from nnunet_mgcl.inference.input_folder import read_images
from nnunet_mgcl.inference.parts import Part
from nnunet_mgcl.mismatch.case_mismatch import mismatch_columns
from nnunet_mgcl.mismatch.roles import Roles
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.tss.probability import tss_probability
from nnunet_mgcl.tss.volumes import fit_volume
from tests.contract.models import predict, predict_with, predictor, rows, voxels

CASES = ["case_0", "case_1"]
COMMAND = ("-f", "0", "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_tta", "--disable_progress_bar")

WHOLE = Part()


@pytest.fixture
def whole(model, images, tmp_path, once) -> Path:
    """The folder of a finished prediction, and its model and images."""
    return once("predicted", tmp_path / "out", lambda folder: predict(model, images, folder))


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
        labels = voxels(tmp_path / "ours" / f"{case}.nii.gz")
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


def test_continued_prediction_redoes_a_case_that_lacks_either_file(model, images, whole, monkeypatch) -> None:
    table = whole / "tss.csv"
    first, done = rows(table), []
    logits = FolderPredictor.predict_logits_from_preprocessed_data
    monkeypatch.setattr(
        FolderPredictor,
        "predict_logits_from_preprocessed_data",
        lambda self, data: (done.append(1), logits(self, data))[1],
    )
    predict(model, images, whole, overwrite=False)
    assert len(done) == 0

    (whole / "case_1.nii.gz").unlink()
    predict(model, images, whole, overwrite=False)
    assert len(done) == 1 and (whole / "case_1.nii.gz").is_file()

    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[2], ""]))  # the row of case_0 is lost
    predict(model, images, whole, overwrite=False)
    assert len(done) == 2
    assert rows(table) == first


def test_killed_prediction_is_continued_to_the_same_files(model, images, whole) -> None:
    """Killed while the second case was written, of which half a file remained."""
    before = {case: voxels(whole / f"{case}.nii.gz") for case in CASES}
    table, half = whole / "tss.csv", whole / "case_1.nii.gz"
    text = table.read_text()
    columns = text.splitlines()[0].split(",")
    without = [{name: "" if name.startswith("volume_ml") else cell for name, cell in row.items()} for row in
               rows(table).values()]  # fmt: skip
    table.write_text("\n".join([",".join(columns), *(",".join(row.values()) for row in without), ""]))
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    predict(model, images, whole, overwrite=False)
    assert table.read_text() == text
    for case in CASES:
        np.testing.assert_array_equal(voxels(whole / f"{case}.nii.gz"), before[case])


def test_new_prediction_leaves_no_table_of_an_earlier_one_while_it_lasts(model, images, whole, monkeypatch) -> None:
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(FolderPredictor, "predict_logits_from_preprocessed_data", killed)
    with pytest.raises(KeyboardInterrupt):
        predict(model, images, whole)
    assert not (whole / "tss.csv").exists()


def test_parts_share_the_cases_in_any_order_without_worker_processes_too(model, images, whole, tmp_path) -> None:
    output, expected = tmp_path / "parts", (whole / "tss.csv").read_text()
    _, table = predict(model, images, output, part=Part(1, 2))
    assert table is None and [path.name for path in output.glob("*.nii.gz")] == ["case_1.nii.gz"]
    _, table = predict(model, images, output, part=Part(0, 2))
    assert table.read_text() == expected
    predict(model, images, output)
    assert not list(output.glob("tss_part*")), "they would be joined with the parts of a later prediction"


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


def test_values_that_normalisation_loses_are_refused_with_the_case(model, images, tmp_path) -> None:
    """nnU-Net normalises them to zeros or NaN."""
    path = images / "case_1_0000.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(path)) * 1e36, str(path))
    with pytest.raises(SystemExit, match=r"after normalisation \(channel 0 of 3\)") as refusal:
        main(["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", model, *COMMAND])
    assert "nnunet_mgcl: case case_1\n" in str(refusal.value)
    assert not (tmp_path / "out" / "case_1.nii.gz").exists()
    assert list(rows(tmp_path / "out" / "tss.csv")) == ["case_0"]


def test_padded_slices_of_a_short_volume_are_masked(model) -> None:
    """The head's volume has 6 slices; a case of 3 must not depend on what fills it up."""
    used = predictor(model)
    network = used.network.eval()
    image = torch.randn(3, 3, 32, 32)
    volume, valid = fit_volume(image, used.config.tss)
    poisoned = volume.clone()
    poisoned[:, 3:] = 50
    with torch.no_grad():
        plain, other = (network.tss(network.tss_features(v[None], 100), valid[None]) for v in (volume, poisoned))
    assert torch.equal(plain, other)


class TestModelFolder:
    """`mgcl predict -m`, which nnUNetv2_predict_from_modelfolder is the stock counterpart of."""

    @pytest.fixture
    def run(self, images, tmp_path):
        return lambda *words: main(["predict", "-i", str(images), "-o", str(tmp_path / "out"), *COMMAND, *words])

    def test_nothing_but_the_folder_is_needed(self, model, run, tmp_path, monkeypatch) -> None:
        for variable in ("raw", "preprocessed", "results", "extTrainer"):
            monkeypatch.delenv(f"nnUNet_{variable}")
        assert run("-m", model) == 0
        assert list(rows(tmp_path / "out" / "tss.csv")) == CASES

    def test_what_does_not_go_together_is_refused(self, model, run) -> None:
        for words, message in (
            (["-m", model, "-c", "2d"], "together with -c"),
            (["-m", model, "-f", "3"], r"choose with -f among \['fold_0', 'fold_1'\]"),
            (["-d", "901"], "add -c"),
        ):
            with pytest.raises(SystemExit, match=message):
                run(*words)

    def test_told_to_end_it_ends_in_order(self, model, run, monkeypatch) -> None:
        """`tests/unit/system/test_workers.py` has what becomes of nnU-Net's processes then."""
        monkeypatch.setattr(FolderPredictor, "predict_cases", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
        monkeypatch.setattr("nnunet_mgcl.system.workers.active_children", list)
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            with pytest.raises(SystemExit) as end:
                run("-m", model)
        finally:
            signal.signal(signal.SIGTERM, before)
        assert end.value.code == 128 + signal.SIGTERM

    @pytest.mark.parametrize(
        ("target", "found"),
        [
            (None, r"channels \[0, 1\]\n  expected: .*2: 'PWI'"),
            ("case_1_0003.nii.gz", r"channels \[0, 1, 3\]"),
            ("case_1.nii.gz", r"the name case_1\.nii\.gz"),
        ],
    )
    def test_case_with_other_channels_is_refused(self, model, run, images, tmp_path, target, found) -> None:
        source = images / "case_1_0002.nii.gz"
        source.rename(images / target) if target else source.unlink()
        with pytest.raises(SystemExit, match=f"found:    {found}"):
            run("-m", model)
        assert not (tmp_path / "out").exists()

    def test_empty_folder_is_refused(self, model, run, images) -> None:
        shutil.rmtree(images)
        images.mkdir()
        with pytest.raises(SystemExit, match=r"no image[\s\S]*CASE_CCCC\.nii\.gz"):
            run("-m", model)

    def test_one_file_may_hold_all_channels_where_the_reader_says_so(self, dataset_json, tmp_path) -> None:
        (tmp_path / "photo_0000.png").touch()
        read_images(tmp_path, dataset_json | {"file_ending": ".png"}, "NaturalImage2DIO")
