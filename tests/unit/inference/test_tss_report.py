from __future__ import annotations

import csv

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_mgcl.evaluation.calibration.maps import Calibration, Isotonic, Platt
from nnunet_mgcl.evaluation.calibration.stored import StoredCalibration
from nnunet_mgcl.inference.parts import Part
from nnunet_mgcl.inference.tss_report import TSSReport, merge_parts, read_rows
from nnunet_mgcl.mismatch.case_mismatch import FLAIR_COLUMNS
from nnunet_mgcl.mismatch.roles import Roles
from nnunet_mgcl.system.errors import UserError

TARGETS = {"DWI": [1, 3], "PWI": [2, 3]}
PLATT = Calibration(method="platt", parameters=Platt(slope=0.5, intercept=1.0), cases=40, positive=20)
KNOTS = Isotonic(probability=[0.2, 0.6], calibrated=[0.1, 0.3])
ISOTONIC = Calibration(method="isotonic", parameters=KNOTS, cases=1000, positive=500)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def cases(path):
    return [row["case"] for row in rows(path)]


@pytest.fixture
def make(tmp_path):
    """Makes a report of two folds."""

    def make(calibration=None, keep=False, folds=("0", "3")):
        return TSSReport(tmp_path / "tss.csv", folds, TARGETS, keep, calibration=calibration, modalities=["DWI", "PWI"])

    return make


@pytest.fixture
def predicted_part(tmp_path):
    """`predicted_part(number, *cases)` does what a process that shares the cases does."""

    def predict(number, *cases, keep=False, **options):
        part = TSSReport(tmp_path / f"tss_part{number}.csv", ["0"], TARGETS, keep, **options)
        for case in cases:
            part.add(case, [0.5])
            sitk.WriteImage(sitk.GetImageFromArray(np.ones((1, 2, 2), np.uint8)), str(tmp_path / f"{case}.nii.gz"))
        part.add_volumes(tmp_path, ".nii.gz", SimpleITKIO())
        return part

    return predict


def test_cases_that_lack_a_modality_stay_raw_and_say_what_they_have(make, tmp_path) -> None:
    """Also where the table goes on, or parts are joined."""
    report = make(calibration=PLATT)
    report.add("a", [0.25, 0.25])
    report.add("b", [0.25, 0.25], ["PWI"])
    other = Calibration(method="platt", parameters=Platt(slope=2.0, intercept=0.0), cases=40, positive=20)
    known = {"folds": [0], "validation_sha256": {}, "reliability": {}}
    subset = StoredCalibration(**other.model_dump(), **known)
    whole = StoredCalibration(**PLATT.model_dump(), **known, subsets={"PWI": subset})
    fitted = make(calibration=whole)
    fitted.add("b", [0.25, 0.25], ["PWI"])
    fitted.add("c", [0.25, 0.25], ["DWI"])
    second, third = rows(fitted.path)
    assert second["probability"] == f"{other.apply(0.25):.6f}" and third["calibration"] == "none"
    report.write()
    for again in (report, make(calibration=PLATT, keep=True)):
        first, second = rows(again.path)
        assert (first["modalities"], first["calibration"]) == ("DWI+PWI", "platt")
        assert (second["modalities"], second["calibration"]) == ("PWI", "none")
        assert second["probability"] == second["probability_raw"] == "0.250000" != first["probability"]
    report.path = tmp_path / "tss_part0.csv"
    for case in "ab":
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((1, 2, 2), np.uint8)), str(tmp_path / f"{case}.nii.gz"))
    report.add_volumes(tmp_path, ".nii.gz", SimpleITKIO())
    joined = rows(merge_parts(tmp_path, Part(), PLATT, ["DWI", "PWI"]))
    assert [row["calibration"] for row in joined] == ["platt", "none"]
    assert joined[1]["volume_ml_DWI"] == "n/a" != joined[0]["volume_ml_DWI"]


def test_a_row_holds_every_fold_s_probability_their_mean_and_the_class(make) -> None:
    report = make()
    report.add("b", [0.25, 0.5])
    assert cases(report.path) == ["b"], "every case is on disk at once"
    report.add("a", [0.5, 0.5])
    first, second = rows(report.path)
    assert (first["case"], first["predicted_class"]) == ("a", "1")  # from 0.5 on
    assert second == {
        "case": "b", "probability": "0.375000", "predicted_class": "0", "probability_raw": "0.375000",
        "calibration": "none", "modalities": "DWI+PWI", "probability_fold_0": "0.250000",
        "probability_fold_3": "0.500000", "volume_ml_DWI": "", "volume_ml_PWI": "",
    }  # fmt: skip


def test_volumes_are_counted_in_ml_with_combined_labels(make, tmp_path) -> None:
    labels = np.zeros((2, 3, 4), np.uint8)
    labels.flat[:7] = [1, 1, 1, 2, 3, 3, 0]
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((2.0, 5.0, 10.0))  # 0.1 ml a voxel
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    report = make()
    report.add("a", [0.5, 0.5])
    report.add_volumes(tmp_path, ".nii.gz", SimpleITKIO())
    (row,) = rows(report.path)
    assert (row["volume_ml_DWI"], row["volume_ml_PWI"]) == ("0.500", "0.300")


def test_single_slices_have_no_volume_but_are_finished(tmp_path) -> None:
    """nnU-Net's reader makes up a slice distance of 999 pixels."""
    part = TSSReport(tmp_path / "tss_part0.csv", ["0"], TARGETS)
    NaturalImage2DIO().write_seg(np.ones((1, 3, 4), np.uint8), str(tmp_path / "a.png"), {})
    part.add("a", [0.5])
    part.add_volumes(tmp_path, ".png", NaturalImage2DIO())
    (row,) = rows(merge_parts(tmp_path, Part()))
    assert (row["volume_ml_DWI"], row["volume_ml_PWI"]) == ("n/a", "n/a")


def test_rows_of_an_earlier_run_stay_where_the_prediction_is_continued(make) -> None:
    assert read_rows(make().path) == {}
    make().add("=1+1", [0.1, 0.2])
    assert cases(make().path) == ["'=1+1"], "no formula for a spreadsheet"
    again = make(keep=True)
    again.add("b", [0.3, 0.4])
    assert list(read_rows(again.path)) == ["=1+1", "b"]
    anew = make()
    anew.add("b", [0.3, 0.4])
    assert cases(anew.path) == ["b"]


def test_row_whose_segmentation_is_gone_does_not_stay(predicted_part, tmp_path) -> None:
    """Its image went with it, or the continued prediction had made it again."""
    predicted_part(0, "a", "b")
    (tmp_path / "a.nii.gz").unlink()
    assert cases(predicted_part(0, keep=True).path) == ["b"]


@pytest.mark.parametrize(
    ("old", "new", "folds", "named"),
    [
        ("", "", ("0",), r"probability_fold_3(.|\n)*-f that it was begun with"),
        ("0.200000", "", ("0", "3"), "probability_fold_"),
        ("probability_raw", "raw", ("0", "3"), "probability_raw"),  # of an earlier version
    ],
)
def test_table_of_other_folds_or_without_their_probabilities_is_not_continued(make, old, new, folds, named) -> None:
    report = make()
    report.add("a", [0.1, 0.2])
    report.path.write_text(report.path.read_text().replace(old, new))
    with pytest.raises(UserError, match=named):
        make(keep=True, folds=folds)


def test_parts_are_merged_by_case_once_all_are_finished(tmp_path, predicted_part) -> None:
    predicted_part(2)
    predicted_part(1, "a")
    assert merge_parts(tmp_path, Part(total=3)) is None
    unfinished = predicted_part(0, "b")
    unfinished.add("c", [0.5])
    assert merge_parts(tmp_path, Part(total=3)) is None
    predicted_part(0, "b")
    assert merge_parts(tmp_path, Part(total=3)) == tmp_path / "tss.csv"
    merged = rows(tmp_path / "tss.csv")
    assert [row["case"] for row in merged] == ["a", "b"]
    assert list(merged[0]) == list(rows(tmp_path / "tss_part0.csv")[0])


def test_continued_part_is_finished_only_with_its_volumes(tmp_path, predicted_part) -> None:
    path = predicted_part(0, "b").path
    assert list(TSSReport(path, ["0"], TARGETS, keep=True).rows) == ["b"] and merge_parts(tmp_path, Part()) is None


def test_part_of_an_earlier_prediction_with_other_folds_is_not_merged(tmp_path, predicted_part) -> None:
    predicted_part(0, "a")
    earlier = predicted_part(1, "b")
    earlier.path.write_text(earlier.path.read_text().replace("fold_0", "fold_1"))
    assert merge_parts(tmp_path, Part(total=2)) is None and not (tmp_path / "tss.csv").exists()


def test_columns_of_the_mismatch_come_last_and_may_stay_empty(tmp_path, predicted_part) -> None:
    part = predicted_part(0, "a", roles=Roles({"FLAIR": 0}, {"DWI": [1, 3]}))
    part.rows["a"] |= {"flair_ratio": "", "mismatch_reason": "no FLAIR"}
    part.write()
    (row,) = rows(merge_parts(tmp_path, Part()))
    assert list(row)[-6:] == ["volume_ml_PWI", *FLAIR_COLUMNS, "mismatch_reason"]
    assert (row["flair_ratio"], row["mismatch_reason"]) == ("", "no FLAIR")


def test_every_fold_s_probability_is_calibrated_before_the_mean(make) -> None:
    make(ISOTONIC).add("a", [0.4, 0.9])
    (row,) = rows(make(keep=True, calibration=ISOTONIC).path)
    assert row["probability"] == "0.250000"  # of 0.2 and 0.3; the mean of 0.65 would give 0.3
    assert row["probability_raw"] == "0.650000" and row["calibration"] == "isotonic"
    assert (row["probability_fold_0"], row["probability_fold_3"]) == ("0.400000", "0.900000")


def test_the_class_is_the_calibrated_probability_s(make) -> None:
    report = make(PLATT)
    report.add("a", [0.3, 0.3])
    report.add("b", [0.05, 0.05])
    first, second = rows(report.path)
    assert (first["probability_raw"], first["predicted_class"]) == ("0.300000", "1")
    assert float(first["probability"]) == pytest.approx(1 / (1 + (0.7 / 0.3) ** 0.5 * np.exp(-1)), abs=1e-6)
    assert second["predicted_class"] == "0"


@pytest.mark.parametrize("calibration", [None, PLATT, ISOTONIC], ids=["none", "platt", "isotonic"])
def test_rows_of_one_table_have_one_calibration(make, tmp_path, predicted_part, calibration) -> None:
    make(PLATT).add("a", [0.4, 0.9])
    continued = make(calibration, keep=True)
    continued.add("b", [0.4, 0.9])
    first, second = rows(continued.path)
    assert first | {"case": "b"} == second
    predicted_part(0, "a")
    predicted_part(1, "b", calibration=PLATT)
    first, second = rows(merge_parts(tmp_path, Part(total=2), calibration))
    assert first | {"case": "b"} == second
