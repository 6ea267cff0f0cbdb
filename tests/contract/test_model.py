"""`Model`: one patient from arrays or files, as `mgcl predict` writes it, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_mgcl.cli import main
from nnunet_mgcl.inference.model import Model
from nnunet_mgcl.mismatch.case_mismatch import REASON, as_values
from nnunet_mgcl.system.errors import UserError
from tests.contract.models import predict, rows, save_fold, voxels

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture
def files(images) -> list[Path]:
    return [images / f"case_0_{channel:04}.nii.gz" for channel in range(3)]


@pytest.fixture
def arrays(files):
    image, properties = SimpleITKIO().read_images([str(path) for path in files])
    return image, properties["spacing"]


@pytest.fixture
def model(masks_model) -> Model:
    return Model(masks_model, device="cpu", mirroring=False)


def assert_as_written(found, row, segmentation) -> None:
    """Compares a prediction with a row of tss.csv and the segmentation beside it."""
    np.testing.assert_array_equal(found.segmentation, segmentation)
    assert (found.spacing, found.no_tss_reason) == ((6.0, 3.0, 3.0), None)
    assert found.tss.probability == float(row["probability"])
    assert found.tss.folds == {fold: float(row[f"probability_fold_{fold}"]) for fold in "01"}
    assert found.tss.spread == pytest.approx(np.std(list(found.tss.folds.values()), ddof=1)) and found.tss.spread > 0
    assert list(found.volumes_ml) == ["DWI", "FLAIR", "PWI"] and sum(found.volumes_ml.values()) > 0
    for target, volume in found.volumes_ml.items():
        assert volume == pytest.approx(float(row[f"volume_ml_{target}"]), abs=1e-3)
    assert list(found.mismatch) == list(row)[-len(found.mismatch) :] and "defuse3" in found.mismatch
    assert found.mismatch == as_values(row, list(found.mismatch))


def test_arrays_and_files_give_what_mgcl_predict_writes(model, masks_model, images, files, arrays, tmp_path) -> None:
    _, table = predict(str(masks_model), images, tmp_path / "out")
    written = rows(table)["case_0"], voxels(tmp_path / "out" / "case_0.nii.gz")
    assert model.folds == ["0", "1"] and model.channels == {0: "DWI", 1: "FLAIR", 2: "PWI"}
    assert model.targets["PWI"] == [4, 5, 6, 7] and model.no_tss_reason is None
    for found in (model.predict(*arrays), model.predict_files(files), model.predict_files(map(str, files))):
        assert_as_written(found, *written)
        assert isinstance(found.mismatch["core_ml"], float) and isinstance(found.mismatch["extend"], bool)
        assert "FLAIR: " in found.mismatch[REASON]  # noise is no head


def test_patient_without_a_modality_is_predicted_as_the_command_does(model, masks_model, images, files, arrays) -> None:
    """From the files that there are, and from an array whatever stands in the missing channel."""
    words = ["-f", "0", "1", "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_tta", "--missing", "FLAIR"]
    out = images.parent / "out"
    assert main(["predict", "-i", str(images), "-o", str(out), "-m", str(masks_model), *words]) == 0
    row, segmentation = rows(out / "tss.csv")["case_0"], voxels(out / "case_0.nii.gz")
    image, spacing = arrays
    spoiled = image.copy()
    spoiled[1] = 100 * np.random.default_rng(0).random(image[1].shape)
    for found in (
        model.predict(image, spacing, missing=["FLAIR"]),
        model.predict(spoiled, spacing, missing=["FLAIR"]),
        model.predict_files([files[0], files[2]], missing=["FLAIR"]),
    ):
        np.testing.assert_array_equal(found.segmentation, segmentation)
        assert found.tss.probability == float(row["probability"]) and found.volumes_ml["FLAIR"] is None
        assert found.mismatch == as_values(row, list(found.mismatch))
    assert (spoiled[1] != image[1]).any()
    whole = model.predict(image, spacing)  # the next patient has all
    assert whole.volumes_ml["FLAIR"] is not None and model.modalities == {"DWI": [0], "FLAIR": [1], "PWI": [2]}


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda model, files, arrays: model.predict(*arrays, missing=["T1"]), "some of DWI, FLAIR, PWI"),
        (lambda model, files, arrays: model.predict(*arrays, missing="PWI"), "a list of modalities"),
        (lambda model, files, arrays: model.predict(*arrays, missing=["DWI", "FLAIR", "PWI"]), "every modality"),
        (lambda model, files, arrays: model.predict_files(files, missing=["PWI"]), "2, a channel each: 0: DWI"),
        (lambda model, files, arrays: model.predict(arrays[0][:2], arrays[1], missing=["PWI"]), "2 channels"),
    ],
)
def test_mistakes_in_what_is_missing_are_answered(model, files, arrays, call, told) -> None:
    with pytest.raises(UserError, match=told):
        call(model, files, arrays)


def test_mismatch_of_files_is_measured_on_their_own_grid(model, files, arrays, monkeypatch) -> None:
    """Of arrays the grid is the identity's: only the files know another."""

    class SeenError(Exception):
        pass

    def look(image, *_):
        raise SeenError(image)

    for path in files:
        image = sitk.ReadImage(str(path))
        image.SetDirection(LPS_TO_RAS.ravel().tolist())
        sitk.WriteImage(image, str(path))
    monkeypatch.setattr("nnunet_mgcl.mismatch.case_mismatch.flair_mismatch", look)
    seen = []
    for call in (lambda: model.predict_files(files), lambda: model.predict(*arrays)):
        with pytest.raises(SeenError) as found:
            call()
        seen += found.value.args
    assert [image.GetDirection()[0] for image in seen] == [-1.0, 1.0]
    np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, seen))


def test_one_fold_has_no_spread_and_other_folds_are_chosen(masks_model, arrays) -> None:
    both, one = (
        Model(masks_model, device="cpu", mirroring=False),
        Model(masks_model, [1], device="cpu", mirroring=False),
    )
    expected, found = (model.predict(*arrays).tss for model in (both, one))
    assert found.spread is None and found.folds == {"1": expected.folds["1"]}
    assert found.probability == expected.folds["1"]


def test_a_patient_is_not_mixed_up_with_the_one_before(model, arrays) -> None:
    image, spacing = arrays
    first = model.predict(image, spacing)
    other = model.predict(image[:, ::-1], spacing)
    again = model.predict(image, spacing)
    assert again.tss == first.tss != other.tss and again.volumes_ml == first.volumes_ml
    np.testing.assert_array_equal(again.segmentation, first.segmentation)


def test_single_slice_has_no_volume_and_says_why_there_is_no_mismatch(model, arrays) -> None:
    found = model.predict(arrays[0][:, 2:3], (2997.0, 3.0, 3.0))  # as nnU-Net's reader makes it up
    assert set(found.volumes_ml.values()) == {None}
    assert "no volume of single values" in found.mismatch[REASON] and found.mismatch["core_ml"] is None


def test_model_without_a_head_segments_and_refuses_the_tss(make_trainer, arrays) -> None:
    model = Model(save_fold(make_trainer(tss=False)), device="cpu")
    found = model.predict(*arrays)
    assert found.segmentation.shape == (6, 32, 32) and "no TSS head" in model.no_tss_reason
    with pytest.raises(UserError, match=r"no TSS head[\s\S]*no_tss_reason"):
        _ = found.tss


class TestRefusal:
    def test_of_the_model(self, masks_model, tmp_path) -> None:
        for wrong, options, message in (
            (tmp_path / "nowhere", {}, "no such folder"),
            (tmp_path, {}, r"no trained fold\n"),
            (masks_model, {"checkpoint": "checkpoint_best.pth"}, r"no trained fold\n"),
            (masks_model, {"folds": [0, 3]}, r"no trained fold 3[\s\S]*folds=\[0, 1\]"),
            (masks_model, {"folds": []}, r"no fold\n"),
            (masks_model, {"device": "gpu"}, 'device="cpu"'),
            (masks_model, {"step_size": 0}, "step_size=0.5"),
        ):
            with pytest.raises(UserError, match=message):
                Model(wrong, **options)

    def test_of_arrays(self, model, arrays) -> None:
        """`test_predictor_calls.py` has every kind."""
        image, spacing = arrays
        for wrong, edges, message in (
            (image[:2], spacing, "2 channels"),
            (image, None, "no spacing"),
            (np.where(image == image.max(), np.nan, image), spacing, "nan_to_num"),
        ):
            with pytest.raises(UserError, match=message):
                model.predict(wrong, edges)

    def test_of_files(self, model, files) -> None:
        def refused(message, given=files) -> None:
            with pytest.raises(UserError, match=message):
                model.predict_files(given)

        refused("2 files[\\s\\S]*2: PWI", files[:2])
        refused("1 files", files[0])
        refused("no file", [files[0], files[1].with_name("none.nii.gz"), files[2]])
        image = sitk.ReadImage(str(files[1]))
        sitk.WriteImage(image[:, :, :4], str(files[1]))
        refused("resample the channels")
        files[1].write_bytes(files[0].read_bytes()[:2000])
        refused("truncated")


def test_files_whose_names_tell_another_order_are_refused(model, files, tmp_path) -> None:
    with pytest.raises(UserError, match=r"channels \[2, 1, 0\]"):
        model.predict_files(files[::-1])
    plain = [path.rename(tmp_path / f"{number}.nii.gz") for number, path in enumerate(files)]
    assert model.predict_files(plain).segmentation.ndim == 3  # names that tell nothing
