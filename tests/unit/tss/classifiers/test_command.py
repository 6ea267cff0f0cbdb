"""`mgcl classifier` on a split, and the commands that take what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from nnunet_mgcl.cli import main
from nnunet_mgcl.evaluation.runs.tss_validation import read_probabilities
from tests.conftest import rewrite_case
from tests.unit.tss.classifiers.conftest import MODEL, SPLITS


def weights(model, fold=0):
    return torch.load(model / f"fold_{fold}/network.pth", weights_only=True)


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_every_fold_is_trained_evaluated_and_compared_beside_a_segmentation_model(
    classifier, dataset, few_resamples, capsys
) -> None:
    model = classifier("resnet", "--epochs", "1")
    for number, val in enumerate(SPLITS):
        said = read_probabilities(model / f"fold_{number}/validation/tss.csv")
        assert [*said] == sorted(val) and len(set(said.values())) > 1
    names = ["resnet__nnUNetPlans__2d", MODEL, "mismatch__nnUNetPlans__2d"]
    classifier("mismatch")
    for name in names:
        assert main(["evaluate", "-d", "901", "-c", "2d", "-tr", name.split("__")[0]]) == 0
    content = json.loads((model / "evaluation.json").read_text())
    assert content["segmentation"] == {} and content["tss"]["cases"] == 6
    for first, second in ((0, 1), (1, 0), (0, 2)):
        assert main(["compare", "-d", "901", names[first], names[second]]) == 0
    entries = json.loads((model.parent / "comparison.json").read_text())["comparisons"]
    assert {entry["target"] for entry in entries} == {"TSS"}
    report = ["report", "-d", "901", "-c", "2d", "-tr", "resnet", "-device", "cpu"]
    assert main(report) == 0 and "Time since stroke" in (model / "report/index.html").read_text()
    with pytest.raises(SystemExit, match="segments nothing"):
        main([*report, "--case", "case_0"])


def test_a_fold_that_is_done_stays_and_other_inputs_are_refused(classifier, dataset) -> None:
    model = classifier("resnet", "--epochs", "1", "-f", "0")
    first = weights(model)
    (model / "fold_0/network.pth").write_bytes(b"mine")
    classifier("resnet", "--epochs", "1", "-f", "0")
    assert (model / "fold_0/network.pth").read_bytes() == b"mine"
    with pytest.raises(SystemExit, match="epochs"):
        classifier("resnet", "--epochs", "2", "-f", "0")
    plans = dataset.plans("nnUNetPlans").read_text()
    dataset.plans("nnUNetPlans").write_text(plans.replace('"ZScoreNormalization"', '"NoNormalization"'))
    with pytest.raises(SystemExit, match="normalization_schemes"):
        classifier("resnet", "--epochs", "1", "-f", "0")
    dataset.plans("nnUNetPlans").write_text(plans)
    with pytest.raises(SystemExit, match="epochs"):  # of another fold: they would be evaluated together
        classifier("resnet", "--epochs", "2", "-f", "1")
    assert not (model / "fold_1").exists()
    (model / "fold_0/validation/tss.csv").unlink()  # as a killed run leaves it
    classifier("resnet", "--epochs", "1", "-f", "0")
    assert equal(weights(model), first)
    classifier("resnet", "--epochs", "1", "-f", "1")
    assert not equal(weights(model, 1), first)


def test_other_masks_of_the_same_model_are_noticed(classifier, dataset) -> None:
    model = classifier("resnet-mask", "--epochs", "1", "-f", "0")
    (model.parent / MODEL / "fold_1/validation/summary.json").write_text('{"validated": "again"}')
    with pytest.raises(SystemExit, match="masks"):
        classifier("resnet-mask", "--epochs", "1", "-f", "0")


def test_the_networks_of_masks_see_nothing_beside_the_lesion(classifier, dataset) -> None:
    """And those of images do."""
    found = {method: weights(classifier(method, "--epochs", "1", "-f", "0")) for method in ("resnet", "resnet-mask")}
    lesions = {"0": (1, 3, 5, 7), "1": (2, 3, 6, 7), "2": (4, 5, 6, 7)}
    for case in (case for val in SPLITS[1:] for case in val):
        folder = dataset.preprocessed / "nnUNetPlans_2d"

        def beside(image, folder=folder, case=case):
            from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

            labels = nnUNetDatasetBlosc2(str(folder), [case]).load_case(case)[1][:][0]
            for channel, own in lesions.items():
                image[int(channel)][~np.isin(labels, own)] += 1
            return image

        rewrite_case(folder, case, beside)
    for method, before in found.items():
        path = dataset.preprocessed.parents[1] / "results" / dataset.name / f"{method}__nnUNetPlans__2d/fold_0"
        (path / "validation/tss.csv").unlink()
        again = weights(classifier(method, "--epochs", "1", "-f", "0"))
        assert equal(before, again) == (method == "resnet-mask")


def test_a_plan_may_have_blocks_of_pretraining_methods(dataset) -> None:
    """In a process of its own, which has imported no trainer."""
    plans = json.loads(dataset.plans("nnUNetPlans").read_text())
    plans["configurations"]["2d"]["mgcl"] = {"seed": {"epochs": 3}, "simclr": {"epochs": 2}}
    dataset.plans("nnUNetPlans").write_text(json.dumps(plans))
    program = ["-c", "from nnunet_mgcl.cli import main; raise SystemExit(main())"]
    words = ["classifier", "-d", "901", "-c", "2d", "--method", "mismatch", "-device", "cpu", "--masks", MODEL]
    done = subprocess.run([sys.executable, *program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "next: mgcl evaluate" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["--method", "resnt"], "--method"),
        (["--method", "resnet", "--masks", MODEL], "--masks"),
        (["--method", "resnet-mask"], "--masks"),
        (["--method", "resnet-mask", "--masks", "resnet__nnUNetPlans__2d"], "--masks"),
        (["--method", "resnet", "--epochs", "0"], "--epochs"),
        (["--method", "resnet", "--lr", "nan"], "--lr"),
        (["--method", "resnet", "-f", "7"], "fold 7"),
        (["--method", "radiomics-svm", "--masks", MODEL, "-f", "0"], "radiomics-svm, fold 0"),
    ],
)  # fmt: skip
def test_mistakes_are_answered(classifier, dataset, arguments, where) -> None:
    if "radiomics-svm" in arguments:  # one patient of a class
        dataset.raw.joinpath("tss.csv").write_text("case,tss_hours\ncase_0,1\ncase_1,2\ncase_3,6\ncase_4,8\n")
    if arguments[-1] == "resnet__nnUNetPlans__2d":
        classifier("resnet", "--epochs", "1")
    command = ["classifier", "-d", "901", "-c", "2d", "-device", "cpu", *arguments]
    with pytest.raises(SystemExit) as refusal:
        main(command)
    if arguments[-2:] == ["-f", "7"]:
        assert not list((dataset.preprocessed.parents[1] / "results" / dataset.name).glob("resnet*"))
    assert where in str(refusal.value)
