from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from nnunet_mgcl.evaluation.comparison import compare_evaluations
from nnunet_mgcl.evaluation.measures.segmentation import MEASURES
from nnunet_mgcl.evaluation.statistics.delong import delong_test
from nnunet_mgcl.evaluation.tables.comparison import reasons

CASES = 16

pytestmark = pytest.mark.usefixtures("few_resamples")


def evaluation(name: str, seed: int, **changes) -> dict:
    rng = np.random.default_rng(seed)
    cases = [
        {
            "case": f"c{number:02}",
            "fold": number % 4,
            "patient": f"p{number}",
            "targets": {
                target: dict.fromkeys(MEASURES, float(rng.random()))
                | {"lesions": number % 3, "predicted_lesions": seed}
                for target in ("DWI", "PWI")
            },
            "tss_class": number % 2,
            "probability": float(rng.random()),
        }
        for number in range(CASES)
    ]
    content = {"dataset": "D", "model": name, "folds": [0, 1, 2, 3], "settings": {}, "divided_patients": []}
    return content | {"tss": {"reason": None, "cases": CASES}, "cases": cases} | changes


def entry(content: dict, **wanted) -> dict:
    (found,) = [e for e in content["comparisons"] if wanted.items() <= e.items()]
    return found


def test_cases_are_paired_by_name_not_by_position() -> None:
    first = evaluation("A", 0)
    second = deepcopy(first) | {"model": "B"}
    second["cases"].reverse()
    for runs in ([first, second], [second, first]):
        dice = entry(compare_evaluations(runs), target="DWI", measure="dice")
        assert dice["difference"] == 0 and dice["t_test"]["reason"] == "no case differs"


def test_the_first_model_is_compared_with_each_other_one() -> None:
    """Of cases without a lesion the Dice cannot be: it is undefined for the model that rightly finds nothing."""
    content = compare_evaluations([evaluation("A", 0), evaluation("B", 1), evaluation("C", 2)])
    assert {(e["first"], e["second"]) for e in content["comparisons"]} == {("A", "B"), ("A", "C")}
    dice = entry(content, second="C", target="PWI", measure="dice")
    assert dice["difference"] == pytest.approx(dice["mean_first"] - dice["mean_second"])
    assert content["without_lesion"]["DWI"] == {"cases": 6, "false_positives": [0, 6, 6]}
    assert any("0 by A, 6 by B, 6 by C" in line for line in reasons(content))


@pytest.mark.parametrize("patients", [["p1", "p2"], []])
def test_divided_patients_are_told(patients) -> None:
    lines = reasons(compare_evaluations([evaluation(name, 0, divided_patients=patients) for name in "AB"]))
    assert any("train and val of a fold: p1, p2." in line for line in lines) == bool(patients)


def test_holm_counts_the_targets_and_models_of_a_measure() -> None:
    content = compare_evaluations([evaluation("A", 0), evaluation("B", 1), evaluation("C", 2)])
    own = [e["t_test"] for e in content["comparisons"] if e["measure"] == "dice"]
    assert len(own) == 4
    smallest = min(own, key=lambda test: test["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, 4 * smallest["p"]))
    areas = [e["delong"] for e in content["comparisons"] if e["measure"] == "AUROC"]
    assert min(a["p_holm"] for a in areas) == pytest.approx(min(1, 2 * min(a["p"] for a in areas)))


def test_areas_are_compared_by_delong_and_classes_by_hits() -> None:
    runs = [evaluation("A", 0), evaluation("B", 1)]
    content = compare_evaluations(runs)
    a, b = (np.array([case["probability"] for case in run["cases"]]) for run in runs)
    actual = np.arange(CASES) % 2 == 1
    area = entry(content, measure="AUROC")
    assert area["delong"]["p"] == pytest.approx(delong_test(a, b, actual)["p"])
    assert area["ci95"][0] < area["difference"] < area["ci95"][1]
    sensitivity = entry(content, measure="SEN")
    assert (sensitivity["n"], sensitivity["left_out"]) == (8, 8)
    assert sensitivity["difference"] == pytest.approx((a[actual] >= 0.5).mean() - (b[actual] >= 0.5).mean())
    specificity = entry(content, measure="SPE")
    assert specificity["difference"] == pytest.approx((a[~actual] < 0.5).mean() - (b[~actual] < 0.5).mean())


@pytest.mark.parametrize(
    ("missing", "without", "tss", "reason"),
    [
        ("probability", "B", {"reason": "no head"}, "not evaluated in B"),
        ("tss_class", "AB", {"reason": None, "cases": 0}, "no case with a known TSS"),
    ],
)
def test_what_has_no_tss_is_compared_by_its_segmentation(missing, without, tss, reason) -> None:
    runs = [evaluation(name, seed, **({"tss": tss} if name in without else {})) for seed, name in enumerate("AB")]
    for case in (case for run in runs if run["model"] in without for case in run["cases"]):
        case[missing] = None
    content = compare_evaluations(runs)
    assert {e["target"] for e in content["comparisons"]} == {"DWI", "PWI"} and content["tss_reason"] == reason


def test_too_few_cases_of_a_class_have_a_reason_for_no_p_value() -> None:
    runs = [evaluation("A", 0), evaluation("B", 1)]
    for run in runs:
        for number, case in enumerate(run["cases"]):
            case["tss_class"] = int(number == 0)
    area = entry(compare_evaluations(runs), measure="AUROC")
    assert area["delong"]["p_holm"] is None and area["delong"]["reason"] == "fewer than two cases of a class"
