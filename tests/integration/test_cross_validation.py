"""Five folds of a tiny phantom and everything that reads them, by the commands a user types."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from tests.integration.phantom import MODEL, images, make_phantom, model, plan, rows, train

FOLDS = ("0", "1", "2", "3", "4")
TRAINERS = ("MGCLTrainer", "MGCLTrainerRandomInit")
TINY = [
    *(f"{phase}.epochs=1" for phase in ("seed", "self_train", "fine")), "coarse.epochs=2", "coarse.batch_size=16",
    "segment.epochs=2", "segment.iterations=6", "segment.val_iterations=1", "tss.epochs=4",
    "configuration.batch_size=4",
]  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def validated(tmp_path_factory, call) -> Path:
    """30 patients, each validated by one of five folds, of the method and of its baseline."""
    root = tmp_path_factory.mktemp("cross_validation")
    make_phantom(root, call, cases=30, unlabelled=8, test=2)
    plan(root, call, *TINY)
    for trainer in TRAINERS:
        for fold in FOLDS:
            call(root, *train(fold, trainer), nnUNet_n_proc_DA="0")
        call(root, "mgcl", "evaluate", *MODEL, "-tr", trainer)
    return root


def test_prediction_uses_the_calibration_that_evaluation_stored(validated, call):
    call(validated, "mgcl", "predict", "-i", images(validated), "-o", validated / "predicted", *MODEL, "-device", "cpu",
         "-npp", 0, "-nps", 0, "--disable_progress_bar")  # fmt: skip
    stored = json.loads((model(validated) / "plans.json").read_text()).get("mgcl_calibration")
    content = json.loads((model(validated) / "evaluation.json").read_text())
    assert (stored is None) == (content["tss"]["calibration"]["reason"] is not None)
    for row in rows(validated / "predicted"):
        raw = [float(row[f"probability_fold_{fold}"]) for fold in FOLDS]
        assert float(row["probability_raw"]) == pytest.approx(sum(raw) / 5, abs=1e-5)
        assert row["calibration"] == (stored["method"] if stored else "none")


def test_mismatch_of_the_predictions(validated, call):
    call(validated, "mgcl", "mismatch", "-d", 501, "-o", validated / "mismatch")
    assert len(rows(validated / "mismatch" / "mismatch.csv")) == 30


@pytest.mark.parametrize("trainer", TRAINERS)
def test_report_has_every_section_and_no_number_that_is_none(validated, call, trainer):
    call(validated, "mgcl", "report", *MODEL, "-tr", trainer)
    page = (model(validated, trainer) / "report" / "index.html").read_text()
    text = visible(page)
    assert not re.search(r"\b(nan|None|inf)\b", text)
    assert "://" not in re.sub(r'"data:[^"]*"', "", page)
    assert str(validated) not in text


def test_pages_of_a_validated_and_of_a_new_patient(validated, call):
    case = json.loads((model(validated) / "evaluation.json").read_text())["cases"][0]["case"]
    call(validated, "mgcl", "report", *MODEL, "--case", case)
    assert case in visible((model(validated) / "report" / f"case_{case}.html").read_text())
    predicted = validated / "predicted"
    new = rows(predicted)[0]["case"]
    call(validated, "mgcl", "report", *MODEL, "--case", new, "-i", images(validated), "-s", predicted)
    page = visible((model(validated) / "report" / f"case_{new}.html").read_text())
    assert new in page and not re.search(r"\b(nan|None|inf)\b", page)


def visible(page: str) -> str:
    """What a reader of the page sees."""
    return html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<style>.*?</style>", "", page)))
