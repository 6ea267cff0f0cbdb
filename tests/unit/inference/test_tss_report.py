from __future__ import annotations

import csv

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_mgcl.evaluation.calibration.maps import Calibration, Isotonic, Platt
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


@pytest.fixture
def report(tmp_path):
    return TSSReport(tmp_path / "tss.csv", ["0", "3"], TARGETS)


@pytest.fixture
def predicted_part(tmp_path):
    """`predicted_part(number, *cases)` does what a process that shares the cases does."""

    def predict(number, *cases):
        part = TSSReport(tmp_path / f"tss_part{number}.csv", ["0"], TARGETS)
        for case in cases:
            part.add(case, [0.5])
            sitk.WriteImage(sitk.GetImageFromArray(np.ones((1, 2, 2), np.uint8)), str(tmp_path / f"{case}.nii.gz"))
        part.add_volumes(tmp_path, ".nii.gz", SimpleITKIO())
        return part

    return predict


def test_case_whose_name_starts_a_formula_is_continued(report) -> None:
    report.add("=1+1", [0.25, 0.5])
    assert rows(report.path)[0]["case"] == "'=1+1"
    again = TSSReport(report.path, ["0", "3"], TARGETS, keep=True)
    assert list(again.rows) == list(read_rows(report.path)) == ["=1+1"]


def test_a_row_holds_every_fold_s_probability_their_mean_and_the_class(report) -> None:
    report.add("b", [0.25, 0.5])
    report.add("a", [0.5, 0.5])
    first, second = rows(report.path)
    assert (first["case"], second["case"]) == ("a", "b")
    assert second == {
        "case": "b",
        "probability": "0.375000",
        "predicted_class": "0",
        "probability_raw": "0.375000",
        "calibration": "none",
        "probability_fold_0": "0.250000",
        "probability_fold_3": "0.500000",
        "volume_ml_DWI": "",
        "volume_ml_PWI": "",
    }
    assert first["predicted_class"] == "1"  # from 0.5 on


def test_every_case_is_on_disk_at_once(report) -> None:
    report.add("a", [0.1, 0.2])
    assert [row["case"] for row in rows(report.path)] == ["a"]


def test_volumes_are_counted_in_ml_with_combined_labels(report, tmp_path) -> None:
    labels = np.zeros((2, 3, 4), np.uint8)
    labels.flat[:7] = [1, 1, 1, 2, 3, 3, 0]
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((2.0, 5.0, 10.0))  # 0.1 ml a voxel
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
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
    assert merge_parts(tmp_path, Part(total=1)) == tmp_path / "tss.csv"
    (row,) = rows(tmp_path / "tss.csv")
    assert (row["volume_ml_DWI"], row["volume_ml_PWI"]) == ("n/a", "n/a")


@pytest.mark.parametrize(("keep", "cases"), [(True, ["a", "b"]), (False, ["b"])])
def test_rows_of_an_earlier_run_stay_where_the_prediction_is_continued(report, keep, cases) -> None:
    report.add("a", [0.1, 0.2])
    again = TSSReport(report.path, ["0", "3"], TARGETS, keep=keep)
    again.add("b", [0.3, 0.4])
    assert [row["case"] for row in rows(report.path)] == cases


def test_row_whose_segmentation_is_gone_does_not_stay(predicted_part, tmp_path) -> None:
    """Its image went with it, or the continued prediction had made it again."""
    predicted_part(0, "a", "b")
    (tmp_path / "a.nii.gz").unlink()
    continued = TSSReport(tmp_path / "tss_part0.csv", ["0"], TARGETS, keep=True)
    continued.add_volumes(tmp_path, ".nii.gz", SimpleITKIO())
    assert [row["case"] for row in rows(continued.path)] == ["b"]


def test_no_file_has_no_rows(tmp_path) -> None:
    assert read_rows(tmp_path / "tss.csv") == {}


def test_prediction_with_other_folds_is_not_continued(report) -> None:
    report.add("a", [0.1, 0.2])
    with pytest.raises(UserError, match=r"probability_fold_3(.|\n)*-f that it was begun with"):
        TSSReport(report.path, ["0"], TARGETS, keep=True)


def test_parts_are_merged_by_case_once_all_are_finished(tmp_path, predicted_part) -> None:
    predicted_part(1, "a")
    assert merge_parts(tmp_path, Part(total=2)) is None
    predicted_part(0, "b")
    assert merge_parts(tmp_path, Part(total=2)) == tmp_path / "tss.csv"
    merged = rows(tmp_path / "tss.csv")
    assert [row["case"] for row in merged] == ["a", "b"]
    assert list(merged[0]) == list(rows(tmp_path / "tss_part0.csv")[0])


def test_part_that_is_still_predicting_keeps_the_others_waiting(tmp_path, predicted_part) -> None:
    predicted_part(1, "a")
    unfinished = predicted_part(0, "b")
    unfinished.add("c", [0.5])
    assert merge_parts(tmp_path, Part(total=2)) is None
    predicted_part(0, "b")
    continued = TSSReport(unfinished.path, ["0"], TARGETS, keep=True)
    assert list(continued.rows) == ["b"] and merge_parts(tmp_path, Part(total=2)) is None


def test_part_of_an_earlier_prediction_with_other_folds_is_not_merged(tmp_path, predicted_part) -> None:
    predicted_part(0, "a")
    earlier = predicted_part(1, "b")
    earlier.path.write_text(earlier.path.read_text().replace("fold_0", "fold_1"))
    assert merge_parts(tmp_path, Part(total=2)) is None and not (tmp_path / "tss.csv").exists()


def test_part_without_a_case_is_merged_too(tmp_path, predicted_part) -> None:
    predicted_part(0)
    predicted_part(1, "a")
    assert [row["probability"] for row in rows(merge_parts(tmp_path, Part(total=2)))] == ["0.500000"]


def test_further_columns_come_last_and_may_stay_empty(tmp_path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((1, 2, 2), np.uint8)), str(tmp_path / "a.nii.gz"))
    part = TSSReport(tmp_path / "tss_part0.csv", ["0"], TARGETS, roles=Roles({"FLAIR": 0}, {"DWI": [1, 3]}))
    part.add("a", [0.5])
    part.rows["a"] |= {"flair_ratio": "", "mismatch_reason": "no FLAIR"}
    assert merge_parts(tmp_path, Part(total=1)) is None, "its volumes are missing"
    part.add_volumes(tmp_path, ".nii.gz", SimpleITKIO())
    (row,) = rows(merge_parts(tmp_path, Part(total=1)))
    assert list(row)[-6:] == ["volume_ml_PWI", *FLAIR_COLUMNS, "mismatch_reason"]
    assert (row["flair_ratio"], row["mismatch_reason"]) == ("", "no FLAIR")


class TestCalibration:
    def report(self, path, calibration, keep=False):
        return TSSReport(path / "tss.csv", ["0", "3"], TARGETS, keep, calibration=calibration)

    def test_every_fold_s_probability_is_calibrated_before_the_mean(self, tmp_path) -> None:
        self.report(tmp_path, ISOTONIC).add("a", [0.4, 0.9])
        (row,) = rows(tmp_path / "tss.csv")
        assert row["probability"] == "0.250000"  # of 0.2 and 0.3; the mean of 0.65 would give 0.3
        assert row["probability_raw"] == "0.650000" and row["calibration"] == "isotonic"
        assert (row["probability_fold_0"], row["probability_fold_3"]) == ("0.400000", "0.900000")

    def test_the_class_is_the_calibrated_probability_s(self, tmp_path) -> None:
        report = self.report(tmp_path, PLATT)
        report.add("a", [0.3, 0.3])
        report.add("b", [0.05, 0.05])
        first, second = rows(report.path)
        assert (first["probability_raw"], first["predicted_class"]) == ("0.300000", "1")
        assert float(first["probability"]) == pytest.approx(1 / (1 + (0.7 / 0.3) ** 0.5 * np.exp(-1)), abs=1e-6)
        assert second["predicted_class"] == "0"

    @pytest.mark.parametrize("calibration", [None, PLATT, ISOTONIC], ids=["none", "platt", "isotonic"])
    def test_continued_prediction_gives_every_row_the_calibration_of_now(self, tmp_path, calibration) -> None:
        self.report(tmp_path, PLATT).add("a", [0.4, 0.9])
        continued = self.report(tmp_path, calibration, keep=True)
        continued.add("b", [0.4, 0.9])
        first, second = rows(continued.path)
        assert first | {"case": "b"} == second

    def test_merged_parts_have_one_calibration(self, tmp_path, predicted_part) -> None:
        predicted_part(0, "a")
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((1, 2, 2), np.uint8)), str(tmp_path / "b.nii.gz"))
        other = TSSReport(tmp_path / "tss_part1.csv", ["0"], TARGETS, calibration=PLATT)
        other.add("b", [0.5])
        other.add_volumes(tmp_path, ".nii.gz", SimpleITKIO())
        first, second = rows(merge_parts(tmp_path, Part(total=2), PLATT))
        assert first | {"case": "b"} == second and second["calibration"] == "platt"

    def test_table_without_the_folds_probabilities_is_refused(self, report) -> None:
        report.add("a", [0.1, 0.2])
        report.path.write_text(report.path.read_text().replace("0.200000", ""))
        with pytest.raises(UserError, match="probability_fold_"):
            TSSReport(report.path, ["0", "3"], TARGETS, keep=True)

    def test_table_of_an_earlier_version_is_not_continued(self, report) -> None:
        report.path.write_text("case,probability,predicted_class,probability_fold_0,probability_fold_3\n")
        with pytest.raises(UserError, match="probability_raw"):
            TSSReport(report.path, ["0", "3"], TARGETS, keep=True)
