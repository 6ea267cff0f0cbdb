"""`evaluate_case` and `evaluate_folder`: the numbers of `mgcl evaluate`, of any predictions and references."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnunet_mgcl import cli
from nnunet_mgcl.evaluation.measures.segmentation import MEASURES
from nnunet_mgcl.evaluation.references import evaluate_case, evaluate_folder
from nnunet_mgcl.system.errors import UserError
from tests.contract.models import voxels
from tests.contract.validated import SPLITS
from tests.labels import MASKS

pytestmark = pytest.mark.usefixtures("few_resamples")

CASES, SPACING = SPLITS[0]["val"], (5.0, 1.0, 1.5)


@pytest.fixture
def folders(make_run, dataset, tmp_path):
    """A fold's validated cases as a folder of predictions, their references, its model and the known times."""
    model = make_run()
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    shutil.copytree(model / "fold_0" / "validation", predictions)
    for name in ("plans.json", "dataset.json"):
        shutil.copy(model / name, predictions)
    references.mkdir()
    for case in CASES:
        shutil.copy(dataset / "gt_segmentations" / f"{case}.nii.gz", references)
    lines = (dataset / "tss.csv").read_text().splitlines()
    (tmp_path / "known.csv").write_text("\n".join([lines[0], *(n for n in lines if n.split(",")[0] in CASES), ""]))
    return predictions, references, model, tmp_path / "known.csv"


def test_numbers_are_those_of_mgcl_evaluate(folders) -> None:
    predictions, references, model, known = folders
    assert cli.main(["evaluate", "-d", "901", "-c", "2d", "-f", "0"]) == 0
    expected = json.loads((model / "evaluation_folds_0.json").read_text())
    found = evaluate_folder(predictions, references, tss=known)
    assert json.loads(json.dumps(found)) == found, "it can be written as JSON"
    for measure in MEASURES:
        assert found["segmentation"]["lesion"][measure] == expected["segmentation"]["lesion"][measure]["cases"]
    assert found["segmentation"]["lesion"]["empty_prediction"] == 0
    pooled = expected["tss"]["measures"]["pooled"] | expected["tss"]["operating_points"]["0.5"]["pooled"]
    assert found["tss"] == pooled and pooled["AUROC"]["value"] is not None and pooled["SEN"]["value"] is not None
    for own, theirs in zip(found["cases"], expected["cases"], strict=True):
        assert own == {key: theirs[key] for key in own} and len(own) == 5


def test_one_case_has_the_numbers_of_the_folder_s(folders) -> None:
    predictions, references, *_ = folders
    (case, *_), name = evaluate_folder(predictions, references)["cases"], f"{CASES[0]}.nii.gz"
    arrays = voxels(predictions / name), voxels(references / name)
    assert evaluate_case(*arrays, SPACING, {"lesion": [1]}) == case["targets"]
    assert evaluate_case(*arrays, SPACING, {"lesion": 1}) == case["targets"]
    wide = evaluate_case(*arrays, SPACING, {"lesion": [1]}, tolerance_mm=100)["lesion"]
    assert wide["surface_dice"] == 1 > case["targets"]["lesion"]["surface_dice"]


def test_targets_and_ignored_voxels_are_the_user_s(folders, make_run) -> None:
    prediction, reference = np.zeros((2, 4, 8, 8), np.uint8)
    prediction[1:3, 2:5, 2:5], reference[1:3, 2:5, 2:5], reference[1:3, 2:5, 5:] = 3, 1, 2
    found = evaluate_case(prediction, reference, SPACING, {"any": [1, 3], "both": [3]}, ignore_label=2)
    assert found["any"]["dice"] == 1 and found["both"]["dice"] == 0
    assert evaluate_case(prediction, reference, SPACING, {"any": [1, 2, 3]})["any"]["dice"] < 1
    predictions, references, *_ = folders
    content = json.loads((predictions / "dataset.json").read_text())
    (predictions / "dataset.json").write_text(json.dumps(content | MASKS))
    assert list(evaluate_folder(predictions, references)["segmentation"]) == list(MASKS["mgcl"]["lesion_labels"])
    assert list(evaluate_folder(predictions, references, targets={"own": [2]})["segmentation"]) == ["own"]


def test_where_there_is_no_tss_the_reason_is_told(folders) -> None:
    predictions, references, _, known = folders
    assert "tss=" in evaluate_folder(predictions, references)["tss"]["reason"]
    (predictions / "tss.csv").unlink()
    assert "no tss.csv" in evaluate_folder(predictions, references, tss=known)["tss"]["reason"]


def test_what_does_not_fit_is_refused(folders) -> None:
    predictions, references, _, known = folders

    def refused(message: str, *arguments, **options) -> None:
        with pytest.raises(UserError, match=message):
            evaluate_folder(*(arguments or (predictions, references)), **options)

    refused("tolerance_mm", tolerance_mm=-1)
    refused("no such file", predictions, references, tss=Path("nowhere.csv"))
    refused("dataset.json", references, predictions)
    lines = (predictions / "tss.csv").read_text().splitlines()
    (predictions / "tss.csv").write_text("\n".join([*lines[:-1], ""]))
    refused(f"no row of {CASES[-1]}", predictions, references, tss=known)
    (references / f"{CASES[1]}.nii.gz").unlink()
    refused(f"no {CASES[1]}")
    shutil.copy(references / f"{CASES[0]}.nii.gz", references / f"{CASES[1]}.nii.gz")
    shutil.copy(references / f"{CASES[0]}.nii.gz", references / "other.nii.gz")
    refused(r"predictions\n  found:    no other")
    one = np.ones((4, 8, 8), np.uint8)
    for arrays, spacing, message in (
        ((one, one[:2]), SPACING, "on the same grid"),
        ((one / 2, one), SPACING, "float64"),
        ((one[0], one[0]), SPACING, r"\(8, 8\)"),
        ((one, one), (1.0, 1.0), "spacing"),
        ((one, one), (1.0, 1.0, float("nan")), "spacing"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate_case(*arrays, spacing, {"lesion": [1]})
