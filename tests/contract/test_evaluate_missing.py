"""`mgcl evaluate --missing`: the validation cases without a modality, beside the whole ones."""

from __future__ import annotations

import json
import shutil

import pytest

from nnunet_mgcl.cli import main
from tests.contract.conftest import SMALL_HEAD
from tests.contract.models import rows, save_fold
from tests.contract.test_missing_prediction import COMMAND

VAL = ["case_2", "case_5"]


@pytest.fixture
def validated(masks_model, real_dataset, few_resamples):
    """A model of one fold, whose validation cases were predicted whole."""
    shutil.copytree(real_dataset.raw / "labelsTr", real_dataset.preprocessed / "gt_segmentations")
    shutil.copy(real_dataset.raw / "tss.csv", real_dataset.preprocessed / "tss.csv")
    images = real_dataset.raw.parent / "val"
    images.mkdir()
    for case in VAL:
        for path in (real_dataset.raw / "imagesTr").glob(f"{case}_*"):
            shutil.copy(path, images)
    predict(masks_model, images, masks_model / "fold_0/validation")
    (masks_model / "fold_0/validation/summary.json").write_text("{}")
    return masks_model, images


def predict(model, images, output, *words) -> None:
    one_fold = [word for word in COMMAND if word != "1"]
    one_fold.remove("--disable_tta")
    assert main(["predict", "-i", str(images), "-o", str(output), "-m", str(model), *one_fold, *words]) == 0


def evaluate(*words):
    return main(["evaluate", "-d", "901", "-c", "2d", "-device", "cpu", *words])


def test_the_cases_are_predicted_without_it_and_evaluated_beside_the_whole_ones(
    validated, real_dataset, tmp_path
) -> None:
    model, images = validated
    (real_dataset.raw / "imagesTr/case_0_0000.nii.gz").write_bytes(b"cut off")  # of no case that is validated here
    assert evaluate() == 0
    whole = (model / "evaluation.json").read_bytes()
    assert evaluate("--missing", "FLAIR") == evaluate("--missing", "PWI", "DWI") == 0
    assert (model / "evaluation.json").read_bytes() == whole
    predict(model, images, tmp_path / "out", "--missing", "FLAIR")
    wanted = rows(tmp_path / "out/tss.csv")
    content = json.loads((model / "evaluation_without_FLAIR.json").read_text())
    assert content["without"] == ["FLAIR"] and [*content["segmentation"]] == ["DWI", "PWI"]
    assert {case["case"] for case in content["cases"]} == {*VAL}
    for case in content["cases"]:
        assert case["probability"] == float(wanted[case["case"]]["probability_raw"])
        for target, scores in case["targets"].items():
            predicted = float(wanted[case["case"]][f"volume_ml_{target}"])
            assert scores["predicted_volume_ml"] == pytest.approx(predicted, abs=1e-3)
    assert (model / "evaluation_without_DWI_PWI.json").is_file()
    assert sorted(path.name for path in (model / "fold_0/validation_without_FLAIR").glob("*.nii.gz")) == [
        f"{case}.nii.gz" for case in VAL
    ]
    assert main(["report", "-d", "901", "-c", "2d"]) == 0
    page = (model / "report/index.html").read_text()
    assert "Missing modalities" in page and page.count("DWI, PWI") >= 1


def test_where_the_head_reads_nothing_else_there_is_no_tss_to_evaluate(
    validated, make_trainer, masks_json, workspace
) -> None:
    model, images = validated
    shutil.rmtree(model / "fold_0")
    read = {"tss": SMALL_HEAD["tss"] | {"modalities": ["FLAIR"]}}
    assert save_fold(make_trainer(labels=masks_json, mgcl=read)) == str(model)
    predict(model, images, model / "fold_0/validation")
    (model / "fold_0/validation/summary.json").write_text("{}")
    assert evaluate("--missing", "FLAIR") == 0
    content = json.loads((model / "evaluation_without_FLAIR.json").read_text())
    assert [case["probability"] for case in content["cases"]] == [None, None]
    assert content["tss"]["measures"]["pooled"]["AUROC"]["value"] is None
    assert content["segmentation"]["DWI"]["dice"]["cases"]


@pytest.mark.parametrize(
    ("words", "told"),
    [(["FLIAR"], "did you mean 'FLAIR'"), (["pwi"], "did you mean 'PWI'"), (["DWI", "FLAIR", "PWI"], "every modality")],
)
def test_mistakes_are_answered(validated, words, told) -> None:
    with pytest.raises(SystemExit, match=told):
        evaluate("--missing", *words)


def test_a_case_whose_raw_images_are_gone_is_named_before_anything_is_predicted(validated, real_dataset) -> None:
    model, _ = validated
    for path in (real_dataset.raw / "imagesTr").glob("case_5_*"):
        path.unlink()
    with pytest.raises(SystemExit, match="case_5"):
        evaluate("--missing", "PWI")
    assert not list(model.glob("fold_*/validation_without_*"))
