"""`mgcl predict` of patients who lack a modality: what is there decides, and nothing that is not."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_mgcl.cli import main
from nnunet_mgcl.evaluation.references import evaluate_folder
from nnunet_mgcl.network.branch import unwrap
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.tss.probability import tss_probability
from tests.contract.conftest import SMALL_HEAD
from tests.contract.models import predictor, rows, save_fold, voxels
from tests.labels import LABELS

COMMAND = ("-f", "0", "1", "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_tta", "--disable_progress_bar")
FILES = {"A": (0, 2), "B": (1,)}


@pytest.fixture
def predicted(images, tmp_path, capsys):
    """`predicted(model, "--missing", "B")` runs the command; its rows and its output."""

    def run(model, *words, out="out"):
        assert main(["predict", "-i", str(images), "-o", str(tmp_path / out), "-m", str(model), *COMMAND, *words]) == 0
        return rows(tmp_path / out / "tss.csv"), capsys.readouterr().out

    return run


def remove(images, case, modality) -> None:
    for channel in FILES[modality]:
        (images / f"{case}_{channel:04}.nii.gz").unlink()


@pytest.mark.parametrize("gone", ["A", "B"])
def test_a_case_is_predicted_by_the_branches_that_it_has(model, images, tmp_path, predicted, gone) -> None:
    """As the network says with the others' channels at zero and their branches away; another case stays whole."""
    whole, _ = predicted(model, out="whole")
    remove(images, "case_0", gone)
    found, said = predicted(model, "--allow-missing")
    (there,) = {"A", "B"} - {gone}
    assert found["case_1"] == whole["case_1"] and found["case_1"]["modalities"] == "A+B"
    row = found["case_0"]
    assert row["modalities"] == there and row[f"volume_ml_{gone}"] == "n/a" and "case_0" in said
    assert "WARNING" in said and "modality_dropout" in said
    labels = voxels(tmp_path / "out/case_0.nii.gz")
    assert not np.isin(labels, LABELS["masks"]["mgcl"]["lesion_labels"][gone]).any()

    used = predictor(model)
    files = []
    for channel in range(3):
        image = sitk.ReadImage(str(images / f"case_1_{channel:04}.nii.gz")) * 0
        path = images / f"case_0_{channel:04}.nii.gz"
        if not path.exists():
            path = tmp_path / f"zero_{channel}.nii.gz"
            sitk.WriteImage(image, str(path))
        files.append(str(path))
    preprocessor = used.configuration_manager.preprocessor_class(verbose=False)
    image, *_ = preprocessor.run_case(files, None, used.plans_manager, used.configuration_manager, used.dataset_json)
    network = unwrap(used.network)
    for fold, weights in enumerate(used.list_of_parameters):
        network.load_state_dict(weights)
        with network.with_present([["A", "B"].index(there)]):
            wanted = tss_probability(network, torch.from_numpy(image), used.config, used.configuration_manager)
        assert float(row[f"probability_fold_{fold}"]) == pytest.approx(wanted, abs=1e-5)
    assert network.present == [0, 1]


def test_a_modality_that_is_left_out_is_as_good_as_not_there(model, images, tmp_path, predicted) -> None:
    left_out, _ = predicted(model, "--missing", "A", out="left_out")
    for case in ("case_0", "case_1"):
        remove(images, case, "A")
    found, _ = predicted(model, "--missing", "A")
    assert found == left_out and {row["modalities"] for row in found.values()} == {"B"}
    for case in found:
        assert np.array_equal(voxels(tmp_path / f"out/{case}.nii.gz"), voxels(tmp_path / f"left_out/{case}.nii.gz"))
    kept, _ = predicted(model, "--missing", "A", "--continue_prediction")
    assert kept == found


def test_a_head_that_reads_nothing_of_a_case_is_silent_and_the_rest_is_told(
    make_trainer, images, tmp_path, predicted
) -> None:
    """It has its volumes, counts as predicted, and can be evaluated; its mistake would be another's."""
    block = {"tss": SMALL_HEAD["tss"] | {"modalities": ["A"]}}
    for fold in (0, 1):
        model = save_fold(make_trainer(fold=fold, labels="masks", mgcl=block))
    whole, _ = predicted(model, out="whole")
    remove(images, "case_0", "A")
    found, said = predicted(model, "--allow-missing")
    assert "No TSS of case_0" in said and found["case_1"] == whole["case_1"]
    row = found["case_0"]
    assert {row[key] for key in ("probability", "predicted_class", "probability_fold_0", "calibration")} == {""}
    volumes = [float(rows["case_0"]["volume_ml_B"]) for rows in (found, whole)]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-3)  # nnU-Net sums logits of labels in half precision
    again, said = predicted(model, "--allow-missing", "--continue_prediction")
    assert again == found and f"{len(found)} of {len(found)} cases are predicted already" in said

    table = tmp_path / "known.csv"
    table.write_text("case,tss_class\n" + "".join(f"{case},{n % 2}\n" for n, case in enumerate(sorted(found))))
    scores = evaluate_folder(tmp_path / "out", tmp_path / "whole", tss=table)
    assert scores["cases"][0]["probability"] is None and scores["tss"]["cases"] == len(found) - 1
    text = (tmp_path / "out/tss.csv").read_text()
    (tmp_path / "out/tss.csv").write_text(text.replace(f"case_1,{found['case_1']['probability']}", "case_1,1.5"))
    with pytest.raises(UserError, match=r"1\.5"):
        evaluate_folder(tmp_path / "out", tmp_path / "whole", tss=table)


def test_shared_labels_are_segmented_by_those_that_are_there(make_trainer, images, predicted) -> None:
    block = SMALL_HEAD | {"modalities": {"A": [0, 2], "B": [1]}}
    for fold in (0, 1):
        model = save_fold(make_trainer(fold=fold, labels="shared", mgcl=block))
    whole, _ = predicted(model, out="whole")
    remove(images, "case_0", "B")
    found, _ = predicted(model, "--allow-missing")
    assert found["case_0"]["modalities"] != found["case_1"]["modalities"] and found["case_1"] == whole["case_1"]
    assert float(found["case_0"]["volume_ml_lesion"]) >= 0


@pytest.mark.parametrize(
    ("words", "spoil", "told"),
    [
        (["--missing", "C"], "", "some of A, B"),
        (["--missing", "A", "B"], "", "every modality"),
        (["--allow-missing"], "half", r"only channels \[0\]"),
        (["--missing", "B"], "A", "no image of a modality that is used"),
        (["--missing", "A"], "B", "no image of B"),
        ([], "B", r"channels \[0, 2\]"),
    ],
)
def test_mistakes_are_answered(model, images, predicted, words, spoil, told) -> None:
    if spoil == "half":
        (images / "case_0_0002.nii.gz").unlink()
    elif spoil:
        remove(images, "case_0", spoil)
    if words == ["--missing", "B"]:
        shutil.copy(images / "case_1_0001.nii.gz", images / "case_0_0001.nii.gz")
        words = [*words, "--allow-missing"]
    with pytest.raises(SystemExit, match=told):
        predicted(model, *words)
