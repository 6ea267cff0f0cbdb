"""The page of a validated case or of a new patient."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import SimpleITK as sitk
from scipy.special import expit

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.engine.training_warnings import TrainingWarning, TrainingWarnings
from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.evaluation.measures.segmentation import segmentation_metrics
from nnunet_mgcl.inference.input_folder import image_digest
from nnunet_mgcl.report.case_images import channel_files
from nnunet_mgcl.report.patient.files import require_validated
from nnunet_mgcl.report.patient.page import about_section, patient_sections
from nnunet_mgcl.system.errors import UserError
from tests.sections import words_of
from tests.unit.report.oriented_run import SPACING, volumes

HEAD = "case,probability,probability_raw,calibration,probability_fold_0,probability_fold_3\n"
MAP = {"method": "platt", "parameters": {"slope": 1.0, "intercept": 1.0}, "cases": 40, "positive": 20, "folds": [0]}
MAP |= {"validation_sha256": {}, "reliability": {}}


def words(sections) -> str:
    return "\n".join(map(words_of, sections))


def calibrate(run) -> None:
    path = run.model / "plans.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {KEY: MAP}))
    run.__dict__.pop("plans")


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
        calibrate(run)
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
        calibrate(run)
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
        assert "\nlesion\n0.9" in words(self.new(make_run()))  # 9 voxels of 4 x 3 x 8 mm

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


def test_warnings_of_each_fold_are_counted_and_placed_or_said_to_be_unreadable(tmp_path) -> None:
    for fold, branches in enumerate((("DWI", "FLAIR"), ("DWI",), ())):
        path = FoldLayout(tmp_path / f"fold_{fold}").warnings
        path.parent.mkdir(parents=True)
        for branch in branches:
            warning = TrainingWarning("coarse", branch, "learned nothing", "more epochs")
            TrainingWarnings(path, print).replace("coarse", branch, [warning])
    _, first, second = about_section("A case.", tmp_path).text
    assert "fold_0" in first and "2 warnings (coarse DWI, coarse FLAIR)" in first
    assert "fold_1" in second and "1 warning (coarse DWI)" in second
    path.write_text("[1]")
    third = about_section("A case.", tmp_path).text[3]
    assert "fold_2" in third and "cannot be read" in third
