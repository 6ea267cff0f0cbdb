"""`mgcl predict --continue_prediction` goes on with the same weights, flags and images, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch

from nnunet_mgcl.cli import main
from nnunet_mgcl.inference.folder_predictor import FolderPredictor
from nnunet_mgcl.system.errors import INTERRUPTED

WORDS = ("-device", "cpu", "-npp", "0", "-nps", "0", "--disable_tta", "--disable_progress_bar")


@pytest.fixture
def predict(images, tmp_path):
    def predict(model, *words, goes_on=False, fold="0") -> Path:
        output, more = tmp_path / "out", ["--continue_prediction"] if goes_on else []
        command = ["predict", "-i", str(images), "-o", str(output), "-m", str(model), "-f", fold, *WORDS, *more]
        if (status := main([*command, *words])) == INTERRUPTED:
            raise KeyboardInterrupt
        assert status == 0
        return output

    return predict


@pytest.fixture
def other(model):
    """The same plan, other weights."""
    folder = Path(model).with_name("MGCLTrainerCoarse__nnUNetPlans__2d")
    shutil.copytree(model, folder)
    change_weights(folder)
    return folder


def change_weights(model, **entries) -> None:
    path = Path(model) / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    for name, value in checkpoint["network_weights"].items():
        if value.is_floating_point():
            checkpoint["network_weights"][name] = value + 0.1
    checkpoint["network_weights"] |= entries
    torch.save(checkpoint, path)


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(predict, found, *args, **options) -> None:
    with pytest.raises(SystemExit, match=rf"{found}[\s\S]*another -o, or leave --continue_prediction out"):
        predict(*args, goes_on=True, **options)


def test_another_model_is_refused_and_changes_nothing(predict, model, other, tmp_path) -> None:
    before = content(predict(model))
    refused(predict, r"of MGCLTrainer__nnUNetPlans__2d .*weights\.fold_0 has changed", other)
    refused(predict, r"weights\.fold_1 is new", model, fold="1")
    assert content(tmp_path / "out") == before


def test_flags_that_change_the_result_are_the_same(predict, model, tmp_path) -> None:
    before = content(predict(model))
    refused(predict, r"step_size was 0\.5, is 1\.0", model, "-step_size", "1")
    assert content(tmp_path / "out") == before
    predict(model, "-npp", "1", "--verbose", goes_on=True)


def test_missing_modalities_are_the_same_and_named_where_not(predict, model) -> None:
    predict(model, "--missing", "B")
    refused(predict, r"\(flags\.missing was \['B'\], is \[\]\)", model)
    refused(predict, r"\(flags\.missing was \['B'\], is \['A'\]\)", model, "--missing", "A")
    predict(model, "--missing", "B", goes_on=True)


def test_another_image_of_the_same_name_is_refused_and_a_new_case_is_not(predict, model, images, tmp_path) -> None:
    before = content(predict(model))
    for channel in range(3):
        shutil.copy(images / f"case_0_{channel:04}.nii.gz", images / f"new_{channel:04}.nii.gz")
    predict(model, goes_on=True)
    assert (tmp_path / "out" / "case_0.nii.gz").read_bytes() == before["case_0.nii.gz"]
    assert (tmp_path / "out" / "new.nii.gz").is_file()
    shutil.copy(images / "case_1_0000.nii.gz", images / "new_0000.nii.gz")
    refused(predict, r"images\.new has changed", model)


def test_model_may_have_moved(predict, model, tmp_path) -> None:
    predict(model)
    shutil.move(model, tmp_path / "elsewhere")
    predict(tmp_path / "elsewhere", goes_on=True)


def test_folder_of_an_earlier_version_is_compared_by_its_plan(predict, model, other, tmp_path, capsys) -> None:
    output = predict(model)
    (output / "mgcl_prediction.json").unlink()
    capsys.readouterr()
    refused(predict, r"plan of another model .*mgcl_model", other)
    predict(model, goes_on=True)
    assert "cannot be checked" in (printed := capsys.readouterr().out)
    assert "2 of 2 cases are predicted already" in printed


def test_killed_prediction_that_began_anew_leaves_nothing_of_an_earlier_one(
    predict, model, other, tmp_path, monkeypatch
) -> None:
    """Without a TSS there is no row that is missing: an old segmentation would pass for the new model's."""
    for each in (model, other):
        change_weights(each, **{"tss.trained": torch.tensor(False)})
    earlier = content(predict(model))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FolderPredictor, "predict_logits_from_preprocessed_data", killed)
        with pytest.raises(KeyboardInterrupt):
            predict(other)
    found = content(predict(other, goes_on=True))
    assert found["case_1.nii.gz"] != earlier["case_1.nii.gz"]
    assert found["case_1.nii.gz"] == content(predict(other))["case_1.nii.gz"]


def test_parts_of_two_models_are_not_joined(predict, model, other, tmp_path, capsys) -> None:
    for part in ("0", "1"):
        predict(model, "-num_parts", "2", "-part_id", part)
    predict(other, "-num_parts", "2", "-part_id", "0")
    assert not (tmp_path / "out" / "tss.csv").exists()
    predict(other, "-num_parts", "2", "-part_id", "1")
    assert (tmp_path / "out" / "tss.csv").is_file()
    predict(other, goes_on=True)
    refused(predict, "with other inputs", model)


def test_note_that_is_none_is_refused(predict, model) -> None:
    note = predict(model) / "mgcl_prediction.json"
    assert json.loads(note.read_text())["images"].keys() == {"case_0", "case_1"}
    note.write_text("[]")
    with pytest.raises(SystemExit, match="not what mgcl predict writes"):
        predict(model, goes_on=True)


@pytest.mark.parametrize("processes", ["0", "1"])
def test_image_that_only_the_reader_dislikes_is_named_too(predict, model, images, processes) -> None:
    image = sitk.ReadImage(str(images / "case_1_0001.nii.gz"))
    image.SetSpacing((3, 3, 6.0005))  # which nnU-Net does not round
    sitk.WriteImage(image, str(images / "case_1_0001.nii.gz"))
    with pytest.raises(SystemExit, match=r"images, case case_1\n.*cannot be read"):
        predict(model, "-npp", processes, "-nps", processes)
