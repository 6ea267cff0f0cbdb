"""`mgcl summary` and `mgcl compare` on results folders as training leaves them."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from nnunet_mgcl import cli
from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.engine.training_warnings import TrainingWarning, TrainingWarnings
from tests.contract.conftest import NAME
from tests.contract.test_evaluation_commands import evaluate, read
from tests.contract.validated import RUN_CASES as CASES
from tests.contract.validated import SHAPE
from tests.labels import MASKS

pytestmark = pytest.mark.usefixtures("few_resamples")


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

    def refusal(self, *arguments: str) -> str:
        with pytest.raises(SystemExit) as error:
            cli.main(["compare", "-d", "901", *arguments])
        return str(error.value)

    def test_a_model_that_is_alone_or_not_evaluated(self, models) -> None:
        message = self.refusal(models[0], "Other__nnUNetPlans__2d")
        assert "mgcl evaluate" in message and models[1] in message
        assert "evaluation_folds_0.json" in self.refusal(*models, "-f", "0")
        assert "two at least" in self.refusal(models[0])
