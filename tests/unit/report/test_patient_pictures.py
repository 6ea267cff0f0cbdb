"""Pictures and pages of cases whose files lie in several directions."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.special import expit

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.evaluation.measures.segmentation import segmentation_metrics
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.inference.input_folder import image_digest
from nnunet_mgcl.report.case_images import channel_files
from nnunet_mgcl.report.cross_validation.overlays import chosen_cases, overlays_section, ranked_cases
from nnunet_mgcl.report.patient.files import require_validated
from nnunet_mgcl.report.patient.page import patient_sections
from nnunet_mgcl.system.errors import UserError

HEAD = "case,probability,probability_raw,calibration,probability_fold_0,probability_fold_3\n"
MAP = {
    "method": "platt",
    "parameters": {"slope": 1.0, "intercept": 1.0},
    "cases": 40,
    "positive": 20,
    "folds": [0],
    "validation_sha256": {},
    "reliability": {},
}
SHAPE, SPACING = (6, 20, 16), (4.0, 3.0, 8.0)
"""Upright `(Z, Y, X)`, and the voxel's x, y, z in mm."""
TURN = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
"""About the axis from foot to head."""
DIRECTIONS = {"LPS": None, "RAS": None, "PIR": None, "oblique": TURN}


def oriented(array: np.ndarray, direction: str) -> sitk.Image:
    """An upright array as a file of this direction holds it."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    if turn := DIRECTIONS[direction]:
        image.SetDirection(turn)
        return sitk.DICOMOrient(image, "SRA")
    return sitk.DICOMOrient(image, direction)


def volumes() -> tuple[np.ndarray, np.ndarray]:
    """A head whose brightest part is left, in front and above the middle; and that part."""
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[4, 5:8, 11:14] = 1
    image = np.zeros(SHAPE, np.float32)
    image[:, 2:-2, 2:-2] = 50
    return image + 100 * lesion, lesion


@pytest.fixture
def make_run(tmp_path, plans, dataset_json):
    """A run with a validated case, stored in a direction, and the content of its `evaluation.json`."""

    def make(direction="LPS", png=False, labels=None, tss=None):
        ending, content = ".png" if png else ".nii.gz", deepcopy(plans)
        json_content = dataset_json | {"file_ending": ending} | (labels or {})
        content["image_reader_writer"] = "NaturalImage2DIO" if png else "SimpleITKIO"
        layout = DatasetLayout("Dataset901_Tiny", tmp_path / "raw", tmp_path / "preprocessed")
        model = tmp_path / "MGCLTrainer__nnUNetPlans__2d"
        image, lesion = volumes()

        def write(path, array):
            path.parent.mkdir(parents=True, exist_ok=True)
            stored = sitk.GetImageFromArray(array[4].astype(np.uint8)) if png else oriented(array, direction)
            sitk.WriteImage(stored, str(path))

        for folder, name in (("imagesTr", "case_1"), ("imagesTs", "new_1")):
            for channel in range(3):
                write(layout.raw / folder / f"{name}_{channel:04}{ending}", image + channel)
        for folder in (layout.raw / "labelsTr", layout.preprocessed / "gt_segmentations", model / "fold_0/validation"):
            write(folder / f"case_1{ending}", lesion)
        write(tmp_path / "predicted" / f"new_1{ending}", lesion)
        (model / "dataset.json").write_text(json.dumps(json_content))
        (model / "plans.json").write_text(json.dumps(content))
        run = ValidatedRun(layout, model, [{"train": [], "val": ["case_1"]}], [0])
        spacing = (999, 1, 1) if png else SPACING[::-1]  # as nnU-Net reads them
        scores = segmentation_metrics(lesion > 0, lesion > 0, spacing, 2.0)
        case = {"case": "case_1", "fold": 0, "patient": "case_1", "tss_class": None, "probability": None} | (tss or {})
        return run, {"dataset": "Dataset901_Tiny", "cases": [case | {"targets": dict.fromkeys(run.targets, scores)}]}

    return make


def section_figure(run, content, _):
    return overlays_section(run, content).pictures[0].figure


def patient_figure(run, content, _):
    return picture(patient_sections(run, content, "case_1", None, None))


def new_patient_figure(run, content, _):
    raw = run.layout.raw
    return picture(patient_sections(run, content, "new_1", raw / "imagesTs", raw.parent / "predicted"))


def picture(sections):
    return next(s for s in sections if s.title == "Images").pictures[0].figure


FIGURES = (section_figure, patient_figure, new_patient_figure)


def in_mm(axis):
    """Where the brightest part of the drawn image is, from its middle: right and down, in mm."""
    shown, (left, right, bottom, top) = axis.images[0].get_array(), axis.images[0].get_extent()
    y, x = np.argwhere(shown > 100).mean(axis=0) + 0.5
    across, down = x / shown.shape[1] * (right - left), y / shown.shape[0] * (bottom - top)
    return across - (right - left) / 2, down - (bottom - top) / 2


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_is_left_in_the_patient_is_right_in_every_picture(make_run, monkeypatch, direction, draw) -> None:
    figure = draw(*make_run(direction), monkeypatch)
    axes = [axis for axis in figure.axes if axis.images]
    assert len(axes) == 3
    for axis in axes:
        assert in_mm(axis) == pytest.approx((18, -10.5))  # 4.5 columns of 4 mm to the left, 3.5 rows of 3 mm forward
        assert axis.get_aspect() == 1
        letters = {text.get_text(): text.get_position()[0] for text in axis.texts}
        assert letters["R"] < 0.1 and letters["L"] > 0.9
        for outline in axis.collections:
            x, y = outline.get_paths()[0].vertices.mean(axis=0)
            assert (x - 32, y - 30) == pytest.approx((18, -10.5), abs=1.5)


@pytest.mark.parametrize("draw", FIGURES)
def test_pictures_without_a_direction_have_no_letters_and_lie_as_they_are(make_run, monkeypatch, draw) -> None:
    figure = draw(*make_run(png=True), monkeypatch)
    for axis in (axis for axis in figure.axes if axis.images):
        assert not axis.texts
        assert in_mm(axis) == pytest.approx((4.5, -3.5))


class TestOverlaysSection:
    @pytest.mark.parametrize(("targets", "last"), [(4, "t3: "), (5, "and 1 more target"), (8, "and 4 more targets")])
    def test_shared_targets_that_are_not_listed_are_counted(self, make_run, targets, last) -> None:
        run, content = make_run()
        scores = content["cases"][0]["targets"]["lesion"]
        content["cases"][0]["targets"] = {f"t{n}": scores for n in range(targets)}
        figure = overlays_section(run, content).pictures[0].figure
        heading = next(axis for axis in figure.axes if not axis.images).texts[0].get_text()
        assert heading.split("\n")[-1].startswith(last) and len(heading.split("\n")) == 1 + min(targets, 5)

    def test_without_nnunet_raw_the_text_says_so_and_names_the_cases(self, make_run) -> None:
        run, content = make_run()
        section = overlays_section(replace(run, layout=replace(run.layout, raw=None)), content)
        assert not section.pictures
        assert "nnUNet_raw" in section.text[-1] and "case_1 (1.000)" in section.text[-1]

    def test_missing_channel_is_named(self, make_run) -> None:
        run, content = make_run()
        (run.layout.raw / "imagesTr" / "case_1_0001.nii.gz").unlink()
        assert "case_1_0001.nii.gz: no such file" in overlays_section(run, content).text[-1]

    @pytest.mark.parametrize(
        ("dice", "expected"),
        [
            ([0.2], {"only case": 0}),
            ([0.2, 0.9], {"best": 1, "worst": 0}),
            ([0.5, 0.9, 0.1, 0.6], {"best": 1, "median": 0, "worst": 2}),
            ([0.5, None, 0.1, 0.6], {"best": 3, "median": 0, "worst": 2}),
        ],
    )
    def test_best_median_and_worst(self, dice, expected) -> None:
        cases = [{"case": n, "targets": {"a": {"dice": d}, "b": {"dice": None}}} for n, d in enumerate(dice)]
        chosen = chosen_cases(ranked_cases(cases))
        assert {name: case["case"] for name, (_, case) in chosen.items()} == expected


def words(sections) -> str:
    cells = [str(row) for section in sections for table in section.tables for row in table.rows]
    return "\n".join([*(text for section in sections for text in section.text), *cells])


class TestPatient:
    def new(self, made, table=None, beside=None):
        run, content = made
        folder = run.layout.raw.parent / "predicted"
        if table:
            (folder / "tss.csv").write_text(table)
        if beside is not None:
            own = json.loads((run.model / "plans.json").read_text())
            (folder / "plans.json").write_text(json.dumps(own | beside))
        return patient_sections(run, content, "new_1", run.layout.raw / "imagesTs", folder)

    def test_validated_case_has_its_out_of_fold_probability_and_no_spread(self, make_run) -> None:
        made = make_run(tss={"tss_class": 1, "probability": 0.61, "calibrated_probability": 0.72})
        text = words(patient_sections(*made, "case_1", None, None))
        assert "TSS < 4.5 h with calibrated probability 0.72 (fold 0 alone, so no spread)" in text
        assert "own (raw) probability is 0.61" in text and "true TSS: less than 4.5 h" in text
        assert "The other folds did" in text and "different classes" not in text

    @pytest.mark.parametrize(
        ("predicted", "reference", "why"),
        [(False, True, "nothing was found"), (True, False, "there was nothing to find"), (True, True, None)],
    )
    def test_an_image_diagonal_is_explained(self, make_run, predicted, reference, why) -> None:
        run, content = make_run()
        lesion = volumes()[1] > 0
        scores = segmentation_metrics(lesion & predicted, lesion & reference, SPACING[::-1], 2.0)
        content["cases"][0]["targets"] = {"lesion": scores}
        text = words(patient_sections(run, content, "case_1", None, None))
        assert (f"HD95 of lesion: the image diagonal, as {why}." in text) == bool(why)
        assert ("image diagonal" in text) == bool(why)

    def test_validated_case_is_shown_raw_where_the_model_is_not_calibrated(self, make_run) -> None:
        run, content = make_run(tss={"tss_class": 1, "probability": 0.61, "calibrated_probability": 0.42})
        content["tss"] = {"calibration": {"reason": None}}
        assert "calibrated one TSS ≥ 4.5 h, the raw one TSS < 4.5 h" in words(
            patient_sections(run, content, "case_1", None, None)
        )
        content["tss"] = {"calibration": {"reason": "calibration would not help"}}
        text = words(patient_sections(run, content, "case_1", None, None))
        assert "with probability 0.61 (" in text and "0.42" not in text and "mgcl predict" not in text
        path = run.model / "plans.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {KEY: MAP}))
        run.__dict__.pop("plans")
        text = words(patient_sections(run, content, "case_1", None, None))
        assert "the map that mgcl predict uses is not used here" in text

    def test_every_fold_of_a_new_patient_is_on_the_scale_of_the_headline(self, make_run) -> None:
        """By the map beside the predictions; it adds 1 to a logit."""
        raw, folds = expit([-0.5, 0.2]), expit([0.5, 1.2])
        row = f"new_1,{folds.mean():.6f},{raw.mean():.6f},platt,{raw[0]:.6f},{raw[1]:.6f}\n"
        sections = self.new(make_run(), HEAD + row, {KEY: MAP})
        text = words(sections)
        assert f"calibrated probability {folds.mean():.2f} (2 folds: {folds[0]:.2f} to {folds[1]:.2f})" in text
        assert "calibrated by Platt scaling" in text
        assert "They call different classes: the calibrated one TSS < 4.5 h, the raw one TSS ≥ 4.5 h" in text
        axis = next(s for s in sections if s.title.startswith("Time")).pictures[0].figure.axes[0]
        marks = [line.get_xdata()[0] for line in axis.lines if line.get_marker() != "None"]
        assert marks == pytest.approx([*folds, folds.mean(), raw.mean()], abs=2e-6)

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            (None, "has no tss.csv"),
            ("case,probability\nother,0.5\n", "no row of new_1"),
            (HEAD + "new_1,0.6,0.6,none,0.5,0.7\n", "with probability 0.60 (2 folds: 0.50 to 0.70)"),
            ("case,probability,probability_fold_0,volume_ml_x_fold_1\nnew_1,0.5,0.5,30\n", "fold 0 alone"),
        ],
    )
    def test_probability_and_its_spread_are_told_or_why_there_is_none(self, make_run, table, said) -> None:
        assert said in words(self.new(make_run(), table, {KEY: MAP}))

    @pytest.mark.parametrize(
        ("name", "val", "said"),
        [
            ("case_3", ["case_1"], r"a case of fold 1[\s\S]*-f 1, once that fold is trained"),
            ("case_2", ["case_1"], "did you mean 'case_1'"),
            ("nobody", [f"case_{n}" for n in (3, 1, 2, 5, 4)], "use one of case_1, case_2, case_3 and 2 more"),
        ],
    )
    def test_case_that_is_not_validated_is_refused_with_what_may_be_meant(self, make_run, name, val, said) -> None:
        run = replace(make_run()[0], splits=[{"train": [], "val": val}, {"train": [], "val": ["case_3"]}])
        with pytest.raises(UserError, match=said):
            require_validated(run, name)

    @pytest.mark.parametrize("beside", [None, {}, {KEY: MAP | {"parameters": {"slope": 2.0, "intercept": 1.0}}}])
    def test_folds_are_not_shown_on_another_scale_than_their_mean(self, make_run, beside) -> None:
        text = words(self.new(make_run(), HEAD + "new_1,0.7,0.6,platt,0.5,0.7\n", beside))
        assert "calibrated probability 0.70 (each fold's cannot be calibrated" in text

    @pytest.mark.parametrize(
        "beside",
        [
            {"dataset_name": "Dataset902_Other"},
            {"plans_name": "OtherPlans"},
            {"mgcl_model": "MGCLTrainerRandomInit__nnUNetPlans__2d"},
            {KEY: MAP | {"validation_sha256": {"0": "a"}}},
        ],
    )
    def test_predictions_of_another_model_are_refused(self, make_run, beside) -> None:
        run, content = make_run()
        path = run.model / "plans.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {KEY: MAP}))
        run.__dict__.pop("plans")
        with pytest.raises(UserError, match="name the model that wrote the predictions"):
            self.new((run, content), None, beside)

    @pytest.mark.parametrize(
        ("beside", "said"),
        [
            (None, "has no plans.json"),
            ({}, "does not name the trainer"),
            ({"mgcl_model": "MGCLTrainer__nnUNetPlans__2d"}, ""),
            ({"mgcl_model": "my_model"}, ""),
        ],
    )
    def test_where_it_cannot_be_told_whose_predictions_they_are_a_line_says_so(
        self, make_run, capsys, beside, said
    ) -> None:
        self.new(make_run(), None, beside)
        printed = capsys.readouterr().out
        assert said in printed and bool(printed) == bool(said)

    def test_images_that_were_not_predicted_are_refused(self, make_run) -> None:
        made = make_run()
        images = made[0].layout.raw / "imagesTs"
        own = image_digest(channel_files(images, "new_1", made[0].dataset_json))
        note = made[0].layout.raw.parent / "predicted" / "mgcl_prediction.json"
        note.write_text(json.dumps({"images": {"new_1": own}}))
        self.new(made)
        note.write_text(json.dumps({"images": {"new_1": "of others"}}))
        with pytest.raises(UserError, match=r"imagesTs, case new_1\n.*other images than those of the prediction"):
            self.new(made)

    def test_labelled_case_is_no_new_patient(self, make_run, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
        made = make_run()
        splits = tmp_path / "preprocessed" / made[0].layout.name / "splits_final.json"
        splits.parent.mkdir(parents=True)
        splits.write_text(json.dumps([{"train": ["case_2"], "val": ["case_1"]}]))
        self.new(made)
        splits.write_text(json.dumps([{"train": ["new_1"], "val": ["case_1"]}]))
        with pytest.raises(UserError, match="leave -i and -s out"):
            self.new(made)

    def test_volumes_are_in_millilitres(self, make_run) -> None:
        assert "('lesion', '0.9')" in words(self.new(make_run()))  # 9 voxels of 4 x 3 x 8 mm

    @pytest.mark.parametrize(
        "table",
        [
            "case,tss_class\nnew_1,1\n",
            "name,probability\nnew_1,0.5\n",
            "case,probability,probability_fold_0\nnew_1,0.5,nan\n",
            "case,probability,probability_fold_0\nnew_1,7,0.5\n",
            "case,probability,probability_fold_0\nnew_1\n",
            "case,probability,probability_fold_0\nnew_1,0.5,text,more\n",
        ],
    )
    def test_foreign_or_broken_tss_table_is_refused(self, make_run, table) -> None:
        with pytest.raises(UserError, match=r"tss\.csv[\s\S]*predict again"):
            self.new(make_run(), table)

    def test_missing_channel_of_a_new_patient_is_refused(self, make_run) -> None:
        made = make_run()
        (made[0].layout.raw / "imagesTs" / "new_1_0002.nii.gz").unlink()
        with pytest.raises(UserError, match="new_1_0002"):
            self.new(made)


CHANGES = {
    "direction": lambda image: image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "origin": lambda image: image.SetOrigin((0, 0, 3)),
    "spacing": lambda image: image.SetSpacing((4.0, 3.5, 8.0)),
    "rounding": lambda image: image.SetOrigin([side + 1e-4 for side in image.GetOrigin()]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_images_that_lie_elsewhere_than_the_prediction_are_refused(make_run, change) -> None:
    run, content = make_run("oblique" if change == "rounding" else "LPS")
    raw, predicted = run.layout.raw / "imagesTs", run.layout.raw.parent / "predicted"
    for path in raw.iterdir():
        image = sitk.ReadImage(str(path))
        CHANGES[change](image)
        sitk.WriteImage(image, str(path))
    if change == "rounding":
        assert patient_sections(run, content, "new_1", raw, predicted)
    else:
        with pytest.raises(UserError, match="another direction, origin or spacing than new_1_0000"):
            patient_sections(run, content, "new_1", raw, predicted)
