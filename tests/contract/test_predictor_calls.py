"""nnU-Net's own calls of `MGCLPredictor`: what they return is nnU-Net's, and `tss` is what `mgcl predict` writes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
from nnunet_mgcl.inference.tss_prediction import TSSPrediction
from nnunet_mgcl.system.errors import UserError
from tests.contract.models import predict, predictor, rows, save_fold, voxels

CASES = ["case_0", "case_1"]


@pytest.fixture
def expected(model, images, tmp_path, once):
    """What `mgcl predict` wrote: of each case its row of tss.csv, and its segmentation."""
    folder = once("predicted", tmp_path / "out", lambda folder: predict(model, images, folder))
    table = rows(folder / "tss.csv")
    return {case: (table[case], voxels(folder / f"{case}.nii.gz")) for case in CASES}


@pytest.fixture
def files(images):
    return [[str(images / f"{case}_{channel:04}.nii.gz") for channel in range(3)] for case in CASES]


@pytest.fixture
def arrays(files):
    read = [SimpleITKIO().read_images(paths) for paths in files]
    return [image for image, _ in read], [{"spacing": properties["spacing"]} for _, properties in read]


def assert_as_written(found: list[TSSPrediction], expected, cases=CASES) -> None:
    assert len(found) == len(cases)
    for tss, case in zip(found, cases, strict=True):
        row, _ = expected[case]
        assert tss.probability == float(row["probability"]) and tss.probability_raw == float(row["probability_raw"])
        assert tss.folds_raw == {fold: float(row[f"probability_fold_{fold}"]) for fold in "01"}
        assert (str(tss.predicted_class), tss.calibration) == (row["predicted_class"], row["calibration"])
        assert tss.spread == pytest.approx(abs(tss.folds["0"] - tss.folds["1"]) / 2**0.5) and tss.spread > 0


def test_single_array(model, expected, arrays, tmp_path) -> None:
    ours, stock = predictor(model, MGCLPredictor), predictor(model, nnUNetPredictor)
    for case, image, properties in zip(CASES, *arrays, strict=True):
        segmentation, probabilities = ours.predict_single_npy_array(image, dict(properties), None, None, True)
        theirs = stock.predict_single_npy_array(image, dict(properties), None, None, True)
        np.testing.assert_array_equal(segmentation, theirs[0])
        np.testing.assert_array_equal(probabilities, theirs[1])
        np.testing.assert_array_equal(segmentation, expected[case][1])
        assert_as_written(ours.tss, expected, [case])
        assert ours.tss[0].case == ""


def test_list_of_arrays_in_the_order_of_what_is_returned(model, expected, arrays, tmp_path) -> None:
    used = predictor(model, MGCLPredictor)
    images, properties = (each[::-1] for each in arrays)
    returned = used.predict_from_list_of_npy_arrays(images, None, properties, None, 2, False, 1)
    for segmentation, case in zip(returned, CASES[::-1], strict=True):
        np.testing.assert_array_equal(segmentation, expected[case][1])
    assert_as_written(used.tss, expected, CASES[::-1])


def test_files_without_an_output_folder(model, expected, files) -> None:
    used = predictor(model, MGCLPredictor)
    returned = used.predict_from_files(files, None, False, True, 1, 1)
    for segmentation, case in zip(returned, CASES, strict=True):
        np.testing.assert_array_equal(segmentation, expected[case][1])
    assert_as_written(used.tss, expected)
    used.predict_from_files([], None)
    assert used.tss == [], "of a call before"


def test_files_one_by_one_without_and_with_an_output_folder(model, expected, images, files, tmp_path) -> None:
    used = predictor(model, MGCLPredictor)
    used.predict_from_files_sequential(files, None)
    assert_as_written(used.tss, expected)
    (tmp_path / "own").mkdir()
    used.predict_from_files_sequential(str(images), str(tmp_path / "own"))
    assert_as_written(used.tss, expected)
    assert [tss.case for tss in used.tss] == CASES
    np.testing.assert_array_equal(voxels(tmp_path / "own" / "case_1.nii.gz"), expected["case_1"][1])


def test_network_that_is_given_by_hand(model, expected, arrays) -> None:
    loaded, used = predictor(model, MGCLPredictor), MGCLPredictor(device=torch.device("cpu"), use_mirroring=False)
    with pytest.raises(UserError, match="no model was loaded"):
        _ = used.tss
    used.manual_initialization(
        loaded.network, loaded.plans_manager, loaded.configuration_manager, loaded.list_of_parameters,
        loaded.dataset_json, loaded.trainer_name, None,
    )  # fmt: skip
    used.predict_single_npy_array(arrays[0][0], arrays[1][0])
    assert_as_written(used.tss, expected, ["case_0"])


def test_model_without_a_trained_head_segments_and_says_why_there_is_no_tss(make_trainer, arrays) -> None:
    model = save_fold(make_trainer(labels="masks"), head_is_trained=False)
    used = predictor(model, MGCLPredictor, folds=(0,))
    assert used.predict_single_npy_array(arrays[0][0], arrays[1][0]).shape == (6, 32, 32)
    with pytest.raises(UserError, match=r"fold 0 is untrained[\s\S]*no_tss_reason"):
        _ = used.tss


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda image, spacing: (image[:2], spacing), r"2 channels, \(2, 6, 32, 32\)\n.*0: DWI, 1: FLAIR, 2: PWI"),
        (lambda image, spacing: (image[:, 0], spacing), "an array of 3 axes"),
        (lambda image, spacing: (image.tolist(), spacing), "a list"),
        (lambda image, spacing: (image[:, :0], spacing), "a size of 0 x 32 x 32 voxels"),
        (lambda image, spacing: (image, None), "no spacing"),
        (lambda image, spacing: (image, spacing[:2]), "the spacing"),
        (lambda image, spacing: (image, (6, 3, 0)), "a spacing of 6 x 3 x 0 mm"),
        (lambda image, spacing: (np.where(image == image.max(), np.nan, image), spacing), "NaN or infinite"),
        (lambda image, spacing: (image * 0, spacing), "one value in all voxels"),
    ],
    ids=["channels", "axes", "type", "empty", "spacing", "two edges", "edge", "nan", "constant"],
)
def test_image_that_cannot_be_predicted_is_refused_and_leaves_no_tss_of_the_one_before(
    model, arrays, change, found
) -> None:
    used = predictor(model, MGCLPredictor, folds=(0,))
    image, spacing = arrays[0][0], tuple(arrays[1][0]["spacing"])
    used.predict_single_npy_array(image, {"spacing": spacing})
    other, edges = change(image, spacing)
    properties = {} if edges is None else {"spacing": edges}
    with pytest.raises(UserError, match=f"found:    .*{found}"):
        used.predict_single_npy_array(other, properties)
    assert used.tss == []


def test_image_of_a_list_is_refused_by_its_number(model, arrays) -> None:
    images, properties = arrays
    with pytest.raises(UserError, match="image 1 of the list"):
        predictor(model, MGCLPredictor, folds=(0,)).predict_from_list_of_npy_arrays(
            [images[0], images[1][:1]], None, properties, None
        )
