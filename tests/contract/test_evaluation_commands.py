"""`mgcl evaluate` and `mgcl compare` on results folders as training leaves them."""

from __future__ import annotations

import csv
import json
import os
import shutil
from copy import deepcopy
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.evaluation.evaluate_predictions import compute_metrics
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from scipy.special import expit, logit

from nnunet_mgcl import cli
from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.engine.training_warnings import TrainingWarning, TrainingWarnings
from nnunet_mgcl.evaluation.calibration import maps as calibration
from nnunet_mgcl.evaluation.calibration.maps import Platt
from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.evaluation.runs.tss_validation import write_table
from tests.contract.conftest import MASKS, NAME
from tests.contract.validated import RUN_CASES as CASES
from tests.contract.validated import SHAPE, SPLITS

REGIONS = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
IGNORE = {"labels": {"background": 0, "lesion": 1, "ignore": 2}}

pytestmark = pytest.mark.usefixtures("few_resamples")


def evaluate(*arguments: str, trainer="MGCLTrainer") -> int:
    return cli.main(["evaluate", "-d", "901", "-c", "2d", "-tr", trainer, *arguments])


def read(path: Path) -> dict:
    """Reads JSON that holds no NaN, which is no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(path.read_text(), parse_constant=refuse)


def replace_in(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


class TestEvaluate:
    def test_every_labelled_case_is_there_once(self, make_run) -> None:
        model = make_run()
        assert evaluate() == 0
        content = read(model / "evaluation.json")
        assert [case["case"] for case in content["cases"]] == CASES
        assert [case["fold"] for case in content["cases"]] == [0] * 5 + [1] * 5 + [2] * 5
        assert content["cases"][3]["patient"] == "p1"
        assert content["tss"]["cases"] == 14 and content["tss"]["unknown_tss"] == 1
        assert content["segmentation"]["lesion"]["empty_reference"] == 1

    @pytest.mark.parametrize(
        ("trainer", "labels", "highest", "nnunet"),
        [
            ("MGCLTrainer", {"labels": {"background": 0, "lesion": 1}}, 1, {"lesion": 1}),
            ("MGCLTrainer", REGIONS, 2, {"whole": (1, 2), "core": (2,)}),
            ("MGCLTrainer", IGNORE, 2, {"lesion": 1}),
            ("MGCLTrainer", MASKS, 3, {"A": (1, 3), "B": (2, 3)}),
            ("nnUNetTrainer", MASKS, 3, {"A": (1, 3), "B": (2, 3)}),
        ],
        ids=["label", "regions", "ignore", "masks", "masks of a stock trainer"],
    )
    def test_dice_is_nnunet_s(self, make_run, dataset, trainer, labels, highest, nnunet) -> None:
        model = make_run(trainer, labels=labels, highest=highest, tss=False)
        evaluate(trainer=trainer)
        for case in read(model / "evaluation.json")["cases"]:
            file = f"{case['case']}.nii.gz"
            prediction = model / f"fold_{case['fold']}" / "validation" / file
            reference, ignore = dataset / "gt_segmentations" / file, labels["labels"].get("ignore")
            found = compute_metrics(str(reference), str(prediction), SimpleITKIO(), list(nnunet.values()), ignore)
            expected = {name: found["metrics"][label]["Dice"] for name, label in nnunet.items()}
            assert {name: own["dice"] for name, own in case["targets"].items()} == pytest.approx(expected)

    def test_spacing_is_the_image_s_in_the_order_of_the_axes(self, make_run, dataset, write_mask) -> None:
        model = make_run()
        reference, shifted = np.zeros((2, *SHAPE), np.uint8)
        reference[1:3, 2:5, 2:5] = 1
        shifted[2:4, 2:5, 2:5] = 1  # by one slice: 5 mm
        write_mask(dataset / "gt_segmentations" / "case_00.nii.gz", reference)
        write_mask(model / "fold_0" / "validation" / "case_00.nii.gz", shifted)
        evaluate()
        scores = read(model / "evaluation.json")["cases"][0]["targets"]["lesion"]
        assert scores["hd95_mm"] == pytest.approx(5)
        assert scores["volume_ml"] == pytest.approx(2 * 9 * 7.5 / 1000)

    def test_the_csv_file_has_a_row_a_case_with_all_scores(self, make_run) -> None:
        model = make_run()
        evaluate()
        cases = read(model / "evaluation.json")["cases"]
        with (model / "evaluation_cases.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["case"] for row in rows] == CASES
        assert float(rows[2]["dice_lesion"]) == cases[2]["targets"]["lesion"]["dice"]
        assert float(rows[2]["probability"]) == cases[2]["probability"]
        assert rows[-1]["tss_class"] == ""

    def test_some_folds_have_a_file_of_their_own(self, make_run, capsys) -> None:
        model = make_run(folds=(0, 2))
        evaluate("-f", "2", "0")
        assert [case["fold"] for case in read(model / "evaluation_folds_0_2.json")["cases"]] == [0] * 5 + [2] * 5
        assert (model / "evaluation_cases_folds_0_2.csv").is_file()
        evaluate("-f", "0")
        assert "one fold only" in capsys.readouterr().out

    def test_a_run_without_a_head_says_so_and_nothing_of_calibration(self, make_run, capsys) -> None:
        model = make_run("nnUNetTrainer", tss=False)
        evaluate(trainer="nnUNetTrainer")
        assert "no trained TSS head" in read(model / "evaluation.json")["tss"]["reason"]
        printed = capsys.readouterr().out
        assert "TSS: not evaluated" in printed and "calibration" not in printed

    @pytest.mark.parametrize("command", ["evaluate", "report"])
    def test_a_tss_table_that_is_lost_does_not_cost_the_evaluation_its_tss(self, make_run, dataset, command) -> None:
        path = make_run() / "evaluation.json"
        evaluate()
        before = path.read_bytes()
        (dataset / "tss.csv").unlink()
        with pytest.raises(SystemExit, match=r"tss.csv[\s\S]*remove evaluation.json"):
            cli.main([command, "-d", "901", "-c", "2d"])
        assert path.read_bytes() == before
        path.unlink()
        evaluate()
        assert "no tss.csv" in read(path)["tss"]["reason"]

    def test_tables_name_every_target_measure_and_operating_point(self, make_run, capsys) -> None:
        make_run(labels=MASKS, highest=3)
        evaluate("--sensitivity", "0.8")
        printed = capsys.readouterr().out
        assert all(text in printed for text in ("Dice", "HD95 mm", " A ", " B ", "youden", "sensitivity_0.8"))
        assert [printed.count(name) for name in ("AUROC", "Brier", "ECE", "log loss")] == [1, 1, 1, 1]
        assert "no skill" in printed and "0.250" in printed, "half of the cases are positive"

    def test_patients_on_both_sides_and_cases_of_no_fold_are_named(self, make_run, dataset, capsys) -> None:
        model, splits = make_run(), deepcopy(SPLITS)
        splits[0]["train"].append("case_99")
        (dataset / "splits_final.json").write_text(json.dumps(splits))
        evaluate()
        assert "patients with cases in train and val of a fold: p2. " in " ".join(capsys.readouterr().out.split())
        assert read(model / "evaluation.json")["cases_without_fold"] == ["case_99"]

    @pytest.mark.parametrize(("tolerance", "said"), [("2.9", True), ("3", False)])
    def test_a_tolerance_below_a_voxel_s_side_is_told(self, make_run, capsys, tolerance, said) -> None:
        make_run()
        evaluate("--tolerance", tolerance)
        assert ("smallest side of a voxel (3 mm)" in capsys.readouterr().out) == said

    def test_what_every_resample_repeats_is_told(self, make_run, dataset, write_mask, capsys) -> None:
        model = make_run()
        for path in model.glob("fold_*/validation/*.nii.gz"):
            write_mask(path, np.zeros(SHAPE))
            sure = dict.fromkeys(SPLITS[int(path.parts[-3][-1])]["val"], 0.9)
            table = read_tss_table(dataset / "tss.csv", CASES)
            write_table(path.parent / "tss.csv", "mrff", {"mrff": sure}, table)
        evaluate()
        printed = capsys.readouterr().out
        assert "no interval of Dice, lesion F1, HD95 mm, surface Dice, because every resample" in printed
        assert "14 with only one of the two" in printed
        assert "Wilson's interval, because every resample gives the same value: ACC at 0.5, SEN at 0.5" in printed


class TestCalibration:
    """Ten cases of a class are needed, of which these runs have seven."""

    @pytest.fixture
    def model(self, make_run, dataset, monkeypatch) -> Path:
        monkeypatch.setattr(calibration, "CASES_OF_A_CLASS", 3)
        model = make_run()
        table, random = read_tss_table(dataset / "tss.csv", CASES), np.random.default_rng(0)
        for fold, split in enumerate(SPLITS):
            known = {case: bool(table.positive(case)) for case in split["val"]}
            probabilities = {case: 0.05 + 0.1 * random.random() + 0.1 * early for case, early in known.items()}
            path = model / f"fold_{fold}" / "validation" / "tss.csv"
            write_table(path, "mrff", {"mrff": probabilities}, table)
        return model

    def stored(self, model: Path) -> dict:
        return json.loads((model / "plans.json").read_text()).get(KEY)

    def test_all_folds_calibrate_the_model(self, model, capsys) -> None:
        before = json.loads((model / "plans.json").read_text())
        evaluate()
        own, content = self.stored(model), read(model / "evaluation.json")["tss"]["calibration"]
        assert all(own[key] == content[key] for key in ("method", "parameters", "reliability"))
        assert own["cases"] == 14 and own["folds"] == [0, 1, 2] and len(own["validation_sha256"]) == 3
        assert json.loads((model / "plans.json").read_text()) == before | {KEY: own}
        printed = capsys.readouterr().out
        assert "calibration: platt, from 14 cases" in printed
        assert all(word in printed for word in ("log loss", "raw", "calibrated_0.5"))

    def test_a_second_evaluation_writes_the_same_files(self, model) -> None:
        names = ("evaluation.json", "evaluation_cases.csv", "plans.json")
        evaluate()
        before = [(model / name).read_bytes() for name in names]
        evaluate()
        assert [(model / name).read_bytes() for name in names] == before

    def test_too_few_cases_leave_the_model_uncalibrated_with_the_reason(self, model, monkeypatch, capsys) -> None:
        evaluate()
        monkeypatch.setattr(calibration, "CASES_OF_A_CLASS", 8)
        evaluate()
        assert self.stored(model) is None
        content = read(model / "evaluation.json")
        assert content["tss"]["calibration"]["method"] is None
        assert {case["calibrated_probability"] for case in content["cases"]} == {None}
        reason = "7 positive and 7 negative cases, 8 of each are needed"
        assert content["tss"]["calibration"]["reason"] == reason
        printed = capsys.readouterr().out
        assert f"calibration: none, so that mgcl predict writes raw probabilities ({reason}); removed" in printed

    @pytest.mark.parametrize(("shift", "said"), [(-8.0, "≥ 4.5 h"), (8.0, "< 4.5 h"), (0.0, None)])
    def test_a_threshold_that_calls_all_cases_the_same_is_named(self, model, monkeypatch, capsys, shift, said) -> None:
        value = Platt.value
        monkeypatch.setattr(Platt, "value", lambda own, p: float(expit(logit(value(own, p)) + shift)))
        evaluate()
        printed = capsys.readouterr().out
        assert ("threshold calibrated_0.5: every case is called" in printed) == (said is not None)
        assert said is None or f"every case is called {said}" in printed

    def test_it_takes_all_folds_which_may_be_named(self, model, capsys) -> None:
        evaluate("-f", "0", "1", "2")
        before = (model / "plans.json").read_bytes()
        assert self.stored(model)
        evaluate("-f", "0", "1")
        assert (model / "plans.json").read_bytes() == before and "is left as it is" in capsys.readouterr().out


class TestEvaluateRefuses:
    def refusal(self, *arguments: str) -> str:
        with pytest.raises(SystemExit) as error:
            evaluate(*arguments)
        return str(error.value)

    def test_missing_folds_by_number_with_those_there(self, make_run) -> None:
        make_run(folds=(1,))
        message = self.refusal()
        assert "fold 0, 2" in message and "-f 1" in message

    @pytest.mark.parametrize(
        ("splits", "message"),
        [
            ("[{", "not valid JSON"),
            ("[]", "no list of folds"),
            ('[{"train": []}]', "not the lists train and val"),
            ('[{"train": ["case_00", "case_01"], "val": ["case_01"]}]', "case_01 in train and val"),
            (json.dumps([*SPLITS, SPLITS[0]]), "case_00, case_01, case_02 and 2 more under val of several folds"),
        ],
    )
    def test_a_split_that_is_none(self, make_run, dataset, splits, message) -> None:
        make_run()
        (dataset / "splits_final.json").write_text(splits)
        refusal = self.refusal()
        assert message in refusal and str(dataset / "splits_final.json") in refusal

    def test_a_model_that_is_not_there_names_those_that_are(self, make_run) -> None:
        model = make_run()
        message = self.refusal("-p", "Other")
        assert "no validation/summary.json" in message and model.name in message
        assert "-f" in self.refusal("-p", "Other", "-f", "x")

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda folder: (folder / "case_06.nii.gz").unlink(), "no segmentation of case_06"),
            (lambda folder: shutil.copy(folder / "case_06.nii.gz", folder / "case_01.nii.gz"), "of case_01"),
            (lambda folder: replace_in(folder / "tss.csv", "case_06", "case_66"), "case_06, case_66"),
            (lambda folder: replace_in(folder / "tss.csv", "0.", "7."), "tss.csv, line 2"),
            (lambda folder: (folder / "case_06.nii.gz").write_bytes(b"half"), "case_06.nii.gz"),
        ],
        ids=["a missing case", "a case of another split", "a TSS of other cases", "no probability", "half a file"],
    )
    def test_a_validation_that_is_not_the_fold_s(self, make_run, spoil, message) -> None:
        spoil(make_run() / "fold_1" / "validation")
        assert message in self.refusal()

    def test_a_segmentation_of_another_shape(self, make_run, write_mask) -> None:
        write_mask(make_run() / "fold_1" / "validation" / "case_06.nii.gz", np.zeros((4, 12, 9)))
        assert "case_06.nii.gz" in self.refusal()

    @pytest.mark.parametrize("words", ["-f all", "-f 3", "--tolerance -1", "--sensitivity 0", "--sensitivity 90"])
    def test_arguments_out_of_range(self, make_run, words) -> None:
        make_run()
        assert words.split()[1] in self.refusal(*words.split())


class TestSummary:
    @pytest.fixture
    def model(self, make_run, workspace, write_mask) -> Path:
        model = make_run()
        (model / "fold_0" / "checkpoint_final.pth").touch()
        for case, channel in product(CASES[:5], range(3)):
            image = np.random.default_rng(channel).normal(size=SHAPE) * 100
            write_mask(workspace / "raw" / NAME / "imagesTr" / f"{case}_{channel:04}.nii.gz", image.clip(0, 255))
        return model

    def summary(self, *arguments: str) -> int:
        return cli.main(["summary", "-d", "901", "-c", "2d", *arguments])

    def test_its_numbers_are_those_of_the_evaluation(self, model, capsys) -> None:
        evaluate("-f", "0")
        printed = capsys.readouterr().out
        assert self.summary() == 0
        assert capsys.readouterr().out.partition("picture:")[0] in printed, "read, not computed again"
        before = (model / "evaluation_folds_0.json").read_bytes()
        (model / "evaluation_folds_0.json").unlink()
        self.summary()
        assert (model / "evaluation_folds_0.json").read_bytes() == before

    def test_it_draws_a_picture_that_makes_no_evaluation_old(self, model, capsys, tmp_path) -> None:
        warning = TrainingWarning("coarse", "DWI", "at chance", "train it longer")
        TrainingWarnings(FoldLayout(model / "fold_0").warnings, lambda _: None).replace("coarse", "DWI", [warning])
        self.summary()
        picture, printed = model / "fold_0" / "validation" / "overlay.png", capsys.readouterr().out
        assert picture.read_bytes().startswith(b"\x89PNG") and str(picture) in printed and str(warning) in printed
        later = picture.stat().st_mtime + 3600
        os.utime(picture, (later, later))
        self.summary("-o", str(tmp_path / "x.png"))
        assert "evaluating" not in capsys.readouterr().out and (tmp_path / "x.png").is_file()

    def test_cases_without_a_dice_have_no_picture(self, model, dataset, write_mask, capsys) -> None:
        for case in CASES[:5]:
            for folder in (dataset / "gt_segmentations", model / "fold_0" / "validation"):
                write_mask(folder / f"{case}.nii.gz", np.zeros(SHAPE))
        assert self.summary() == 0 and "no case has a Dice" in capsys.readouterr().out

    def test_it_needs_the_images_and_a_validated_fold(self, model, monkeypatch) -> None:
        monkeypatch.delenv("nnUNet_raw")
        with pytest.raises(SystemExit, match="nnUNet_raw"):
            self.summary()
        with pytest.raises(SystemExit, match=r"fold_1[\s\S]*-f among \['fold_0'\]"):
            self.summary("-f", "1")


class TestCompare:
    @pytest.fixture
    def models(self, make_run) -> list[str]:
        names = ["MGCLTrainer", "MGCLTrainerRandomInit"]
        models = [make_run(name, seed=seed, labels=MASKS, highest=3) for seed, name in enumerate(names)]
        for name in names:
            evaluate(trainer=name)
        return [model.name for model in models]

    def test_names_with_a_dataset_or_folders(self, models, workspace, tmp_path, capsys) -> None:
        folder = workspace / "results" / NAME
        assert cli.main(["compare", "-d", "901", *models]) == 0
        content = read(folder / "comparison.json")
        assert content["models"] == models and content["cases"] == 15 and content["patients"] == 8
        assert {e["target"] for e in content["comparisons"]} == {"A", "B", "TSS"}
        printed = capsys.readouterr().out
        assert "15 cases of 8 patients" in printed
        dice = next(e for e in content["comparisons"] if e["measure"] == "dice")
        row = next(line for line in printed.splitlines() if " Dice " in line).split()
        assert row[3:6] == [f"{dice[mean]:.3f}" for mean in ("mean_first", "mean_second", "difference")]
        assert cli.main(["compare", *(str(folder / model) for model in models), "-o", str(tmp_path / "x.json")]) == 0
        assert read(tmp_path / "x.json") == content

    def test_a_stock_trainer_is_compared_by_its_segmentation(self, make_run, models, workspace, capsys) -> None:
        make_run("nnUNetTrainer", labels=MASKS, highest=3, tss=False)
        evaluate(trainer="nnUNetTrainer")
        cli.main(["compare", "-d", "901", models[0], "nnUNetTrainer__nnUNetPlans__2d"])
        content = read(workspace / "results" / NAME / "comparison.json")
        assert {e["target"] for e in content["comparisons"]} == {"A", "B"}
        assert "TSS: not evaluated in nnUNetTrainer__nnUNetPlans__2d" in capsys.readouterr().out

    def refusal(self, *arguments: str) -> str:
        with pytest.raises(SystemExit) as error:
            cli.main(["compare", "-d", "901", *arguments])
        return str(error.value)

    def test_a_model_that_is_alone_or_not_evaluated(self, models) -> None:
        message = self.refusal(models[0], "Other__nnUNetPlans__2d")
        assert "mgcl evaluate" in message and models[1] in message
        assert "evaluation_folds_0.json" in self.refusal(*models, "-f", "0")
        assert "two at least" in self.refusal(models[0])
