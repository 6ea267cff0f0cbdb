"""`mgcl evaluate` on results folders as training leaves them."""

from __future__ import annotations

import csv
import json
import shutil
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.evaluation.evaluate_predictions import compute_metrics
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from scipy.special import expit, logit

from nnunet_mgcl import cli
from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.evaluation.calibration import maps as calibration
from nnunet_mgcl.evaluation.calibration.maps import Platt
from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.evaluation.runs.tss_validation import write_table
from tests.conftest import write_image
from tests.contract.validated import RUN_CASES as CASES
from tests.contract.validated import SHAPE, SPLITS
from tests.labels import IGNORE, MASKS, REGIONS

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
    def test_every_labelled_case_is_there_once_also_in_the_table(self, make_run) -> None:
        model = make_run()
        assert evaluate() == 0
        content = read(model / "evaluation.json")
        cases = content["cases"]
        assert [(case["case"], case["fold"]) for case in cases] == [(c, n // 5) for n, c in enumerate(CASES)]
        assert cases[3]["patient"] == "p1"
        assert content["tss"]["cases"] == 14 and content["tss"]["unknown_tss"] == 1
        assert content["segmentation"]["lesion"]["empty_reference"] == 1
        with (model / "evaluation_cases.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["case"] for row in rows] == CASES and rows[-1]["tss_class"] == ""
        assert float(rows[2]["dice_lesion"]) == cases[2]["targets"]["lesion"]["dice"]
        assert float(rows[2]["probability"]) == cases[2]["probability"]

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
    def test_dice_is_nnunet_s_also_without_a_tss(
        self, make_run, dataset, capsys, trainer, labels, highest, nnunet
    ) -> None:
        model = make_run(trainer, labels=labels, highest=highest, tss=False)
        evaluate(trainer=trainer)
        content, printed = read(model / "evaluation.json"), capsys.readouterr().out
        assert "no trained TSS head" in content["tss"]["reason"]
        assert "TSS: not evaluated" in printed and "calibration" not in printed
        for case in content["cases"]:
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

    def test_some_folds_have_a_file_of_their_own(self, make_run, capsys) -> None:
        model = make_run(folds=(0, 2))
        evaluate("-f", "2", "0")
        assert [case["fold"] for case in read(model / "evaluation_folds_0_2.json")["cases"]] == [0] * 5 + [2] * 5
        assert (model / "evaluation_cases_folds_0_2.csv").is_file()
        evaluate("-f", "0")
        assert "one fold only" in capsys.readouterr().out

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

    @pytest.mark.parametrize(("tolerance", "said"), [("2.9", True), ("3", False)])
    def test_tables_name_every_target_measure_operating_point_and_doubt(
        self, make_run, dataset, capsys, tolerance, said
    ) -> None:
        model, splits = make_run(labels=MASKS, highest=3), deepcopy(SPLITS)
        splits[0]["train"].append("case_99")
        (dataset / "splits_final.json").write_text(json.dumps(splits))
        evaluate("--sensitivity", "0.8", "--tolerance", tolerance)
        printed = " ".join(capsys.readouterr().out.split())
        assert all(text in printed for text in ("Dice", "HD95 mm", " A ", " B ", "youden", "sensitivity_0.8"))
        assert [printed.count(name) for name in ("AUROC", "Brier", "ECE", "log loss")] == [1, 1, 1, 1]
        assert "no skill" in printed and "0.250" in printed, "half of the cases are positive"
        assert "patients with cases in train and val of a fold: p2. " in printed
        assert ("smallest side of a voxel (3 mm)" in printed) == said
        assert read(model / "evaluation.json")["cases_without_fold"] == ["case_99"]

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
        files = [model / name for name in ("evaluation.json", "evaluation_cases.csv", "plans.json")]
        first = [file.read_bytes() for file in files]
        evaluate()
        assert [file.read_bytes() for file in files] == first

    def test_too_few_cases_leave_the_model_uncalibrated_with_the_reason(self, model, monkeypatch, capsys) -> None:
        evaluate()
        monkeypatch.setattr(calibration, "CASES_OF_A_CLASS", 8)
        evaluate()
        content, printed = read(model / "evaluation.json"), capsys.readouterr().out
        found = content["tss"]["calibration"]
        assert self.stored(model) is found["method"] is None
        assert {case["calibrated_probability"] for case in content["cases"]} == {None}
        assert found["reason"] == "7 positive and 7 negative cases, 8 of each are needed"
        assert f"raw probabilities ({found['reason']}); removed" in printed

    @pytest.mark.parametrize(("shift", "said"), [(-8.0, "≥ 4.5 h"), (8.0, "< 4.5 h"), (0.0, None)])
    def test_a_threshold_that_calls_all_cases_the_same_is_named(self, model, monkeypatch, capsys, shift, said) -> None:
        value = Platt.value
        monkeypatch.setattr(Platt, "value", lambda own, p: float(expit(logit(value(own, p)) + shift)))
        evaluate()
        printed = capsys.readouterr().out
        assert ("threshold calibrated_0.5: every case is called" in printed) == (said is not None)
        assert said is None or f"every case is called {said}" in printed


class TestEvaluateRefuses:
    def refusal(self, *arguments: str) -> str:
        with pytest.raises(SystemExit) as error:
            evaluate(*arguments)
        return str(error.value)

    def test_missing_folds_by_number_with_those_there(self, make_run) -> None:
        make_run(folds=(1,))
        message = self.refusal()
        assert "fold 0, 2" in message and "-f 1" in message

    def test_a_case_in_two_folds(self, make_run, dataset) -> None:
        make_run()
        (dataset / "splits_final.json").write_text(json.dumps([*SPLITS, SPLITS[0]]))
        assert "case_00, case_01, case_02 and 2 more under val of several folds" in self.refusal()

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
            (lambda folder: write_image(folder / "case_06.nii.gz", np.zeros((4, 12, 9))), "case_06.nii.gz"),
        ],
        ids=["a missing case", "a case of another split", "a TSS of other cases", "another shape"],
    )
    def test_a_validation_that_is_not_the_fold_s(self, make_run, spoil, message) -> None:
        spoil(make_run() / "fold_1" / "validation")
        assert message in self.refusal()

    @pytest.mark.parametrize("words", ["-f all", "--sensitivity 0", "--sensitivity 90"])
    def test_arguments_out_of_range(self, make_run, words) -> None:
        make_run()
        assert words.split()[1] in self.refusal(*words.split())
