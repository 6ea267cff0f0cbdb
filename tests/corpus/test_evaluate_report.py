"""`mgcl evaluate` and `mgcl report` on odd results folders and flags."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnunet_mgcl.cli import main
from tests.corpus.row import Row, either, meet, refused, works
from tests.corpus.spoil import (
    DEEP,
    DIM,
    LONG,
    PIXDIM,
    Spoil,
    both,
    content_of,
    copied,
    cut,
    edited,
    fifo,
    folder,
    header,
    link,
    moved,
    nothing,
    removed,
    replaced,
    text,
    voxels,
)

HERE, MODEL = "preprocessed/Dataset901_Tiny", "results/Dataset901_Tiny/MGCLTrainer__nnUNetPlans__2d"
FOLD = f"{MODEL}/fold_1"
PREDICTION, REFERENCE = f"{FOLD}/validation/case_06.nii.gz", f"{HERE}/gt_segmentations/case_06.nii.gz"
TABLE, SPLITS = f"{FOLD}/validation/tss.csv", f"{HERE}/splits_final.json"
PLANS, DATASET = f"{MODEL}/plans.json", f"{MODEL}/dataset.json"
OUTPUTS = (f"{MODEL}/evaluation*", f"{MODEL}/report*", PLANS, "elsewhere/*")
EVALUATE, REPORT = "evaluate -d 901 -c 2d", "report -d 901 -c 2d"
PATIENT = f"{REPORT} --case case_03"
"""One patient's page of a case that needs no trained weights."""


def evaluated(**expected: object) -> Callable[[Path, str], None]:
    """Fifteen cases, all with numbers that JSON knows, and these values of the summary's lesion."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    def check(tree: Path, printed: str) -> None:
        content = json.loads((tree / MODEL / "evaluation.json").read_text(), parse_constant=refuse)
        assert len(content["cases"]) == 15
        own = content["segmentation"]["lesion"]
        assert {key: own[key] for key in expected} == expected

    return check


def reported(tree: Path, printed: str) -> None:
    page = (tree / MODEL / "report" / "index.html").read_text()
    assert "</html>" in page and ">nan<" not in page and ">None<" not in page


def of_case(tree: Path, printed: str) -> None:
    assert "</html>" in (tree / MODEL / "report" / "case_case_03.html").read_text()


def done(words: str = EVALUATE) -> Spoil:
    """An earlier run of the command."""
    return lambda tree: main(words.split())


def splits() -> list[Row]:
    cases = [f"case_{number:02}" for number in range(15)]
    bad = {
        "null": "null", "folds of null": "[null]", "val as text": '[{"train": ["a"], "val": "case_00"}]',
        "a case of a path": json.dumps([{"train": cases[1:], "val": ["../../../tree/x"]}]),
    }  # fmt: skip
    return [
        *(refused(f"splits: {name}", text(SPLITS, content), EVALUATE,
                  "Tiny" if "path" in name else "splits_final.json", quick=name == "null")
          for name, content in bad.items()),
        refused("splits: a dangling link", link(SPLITS, "gone"), EVALUATE, "splits_final.json"),
    ]  # fmt: skip


def masks() -> list[Row]:
    def bad(name: str, spoil: Spoil, *says: str, quick: bool = False) -> Row:
        return refused(f"mask: {name}", spoil, EVALUATE, *(says or ("case_06.nii.gz",)), quick=quick)

    nan = float("nan")
    everything = both(*(voxels(path, lambda v: v * 0 + 1) for path in (PREDICTION, REFERENCE)))
    small = both(*(voxels(path, lambda v: np.ones((5, 1, 1), np.uint8)) for path in (PREDICTION, REFERENCE)))
    return [
        works("mask: 5 x 1 x 1 voxels", small, EVALUATE, evaluated(), quick=True),
        works("mask: lesion everywhere", everything, EVALUATE, evaluated()),
        bad("another shape", voxels(PREDICTION, lambda v: v[:-1])),
        either("mask: another spacing", header(PREDICTION, PIXDIM, _1=9.0), EVALUATE, evaluated(), "case_06.nii.gz"),
        bad("spacing NaN", both(*(header(path, PIXDIM, _1=nan) for path in (PREDICTION, REFERENCE))), quick=True),
        bad("the largest dimensions", header(PREDICTION, DIM, _1=32767, _2=32767, _3=32767)),
        bad("4D", voxels(PREDICTION, lambda v: np.stack([v, v])), quick=True),
        bad("empty", content_of(REFERENCE, b"")),
        either("mask: half", cut(PREDICTION, -40), EVALUATE, lambda *_: pytest.fail("half a mask"), "case_06.nii.gz"),
        bad("a folder", folder(PREDICTION)),
        bad("a pipe", fifo(PREDICTION), quick=True),
        bad("a pipe for the reference", fifo(REFERENCE)),
        bad("the reference gone", removed(REFERENCE)),
        either("mask: labels nobody knows", voxels(PREDICTION, lambda v: v * 9), EVALUATE, evaluated(), "case_06"),
        either("mask: fractions", voxels(PREDICTION, lambda v: v * 0.5), EVALUATE, evaluated(), "case_06"),
    ]  # fmt: skip


def tables() -> list[Row]:
    def bad(name: str, spoil: Spoil, *says: str, quick: bool = False) -> Row:
        return refused(f"tss.csv: {name}", spoil, EVALUATE, *(says or ("tss.csv",)), quick=quick)

    def probability(value: str) -> Spoil:
        def change(tree: Path) -> None:
            lines = (tree / TABLE).read_text().splitlines()
            at = lines[0].split(",").index("probability")
            cells = lines[1].split(",")
            cells[at] = value
            (tree / TABLE).write_text("\n".join([lines[0], ",".join(cells), *lines[2:], ""]))

        return change

    values = {"1.5": "above 1", "-0.1": "below 0", "nan": "none", "0_1": "with an underscore",
              "\u0660": "in Arabic digits", LONG: "of 200,000 characters", "": "empty", "=1": "a formula"}  # fmt: skip
    return [
        *(bad(f"a probability {name}", probability(value), quick=value in ("0_1", LONG))
          for value, name in values.items()),
        bad("a pipe", fifo(TABLE)), bad("a folder", folder(TABLE)),
        bad("a dangling link", link(TABLE, "gone"), quick=True),
        bad("NUL", content_of(TABLE, b"case,probability\n\0")),
        bad("empty", text(TABLE, "")),
        bad("the dataset's is a dangling link", link(f"{HERE}/tss.csv", "gone"), quick=True),
        bad("the dataset's is a pipe", fifo(f"{HERE}/tss.csv")),
        bad("the dataset's has a long cell", text(f"{HERE}/tss.csv", f"case,tss_class\ncase_00,{LONG}\n")),
    ]  # fmt: skip


def structures() -> list[Row]:
    """Plans and dataset.json; `tests/unit/system/test_spoilt_json.py` has more of their content."""
    without_2d = edited(PLANS, lambda plans: plans["configurations"].pop("2d"))
    without_ending = edited(DATASET, lambda dataset: dataset.pop("file_ending"))
    return [
        refused("plans: a list", text(PLANS, "[1]"), EVALUATE, "plans.json", quick=True),
        refused("plans: no such configuration", without_2d, EVALUATE, "2d"),
        refused("dataset.json: no file_ending", without_ending, EVALUATE, "file_ending", quick=True),
        works("unknown keys", both(edited(PLANS, lambda p: p.update(theirs=[1])),
              edited(DATASET, lambda d: d.update(theirs={}))), EVALUATE, evaluated()),
    ]  # fmt: skip


def flags() -> list[Row]:
    bad = {
        "--tolerance inf": "--tolerance", "--tolerance nan": "--tolerance", "--tolerance -1": "--tolerance",
        "--sensitivity nan": "--sensitivity", "--sensitivity inf": "--sensitivity", "-f 1_0": "-f", "-f \u0661": "-f",
        "-f=-1": "-f", "-f 99": "99", "-f ''": "-f", "-c ../x": "../x",
    }  # fmt: skip
    return [
        *(refused(f"flag: {words}", nothing, f"{EVALUATE} {words}", part,
                  quick=words in ("--tolerance inf", "-c ../x"))
          for words, part in bad.items()),
        works("flag: --tolerance 0", nothing, f"{EVALUATE} --tolerance 0", evaluated()),
        works("flag: --tolerance 1e9", nothing, f"{EVALUATE} --tolerance 1e9", evaluated()),
        works("ASCII only", nothing, EVALUATE, evaluated(), encoding="ascii", quick=True),
        works("a terminal of Windows", nothing, EVALUATE, evaluated(), encoding="cp1252"),
        refused("no room", nothing, EVALUATE, "evaluation", file_size=500, quick=True),
        refused("evaluation.json is a folder", folder(f"{MODEL}/evaluation.json"), EVALUATE, "evaluation.json"),
        either("evaluation.json is a dangling link", link(f"{MODEL}/evaluation.json", "gone"), EVALUATE, evaluated(),
               "evaluation.json"),
        refused("a fold that is a file", both(removed(FOLD), text(FOLD, "")), EVALUATE, "fold 1"),
        refused("a model that is gone", moved(MODEL, f"{MODEL}_"), EVALUATE, "MGCLTrainer__nnUNetPlans__2d"),
        works("other folders beside the folds", both(folder(f"{MODEL}/fold_x"), folder(f"{MODEL}/@eaDir"),
              folder(f"{FOLD}/validation/@eaDir")), EVALUATE, evaluated()),
    ]  # fmt: skip


def reports() -> list[Row]:
    evaluation, curves = f"{MODEL}/evaluation.json", f"{FOLD}/phases/curves.json"
    shapes = {"a list": "[]", "deep": DEEP}
    bad_curves = {
        "a list": "[]", "a phase as a list": '{"seed": [1]}',
        "text": '{"seed": {"axes": ["epoch", "training loss"], "curves": {"DWI": ["x"]}}}',
        "NaN": '{"seed": {"axes": ["epoch", "training loss"], "curves": {"DWI": [NaN, 1e999]}}}',
    }  # fmt: skip
    others = {f"{FOLD}/phases/state.json": '"x"', f"{FOLD}/debug.json": "[1]", f"{FOLD}/phases/warnings.json": '"x"'}
    return [
        *(either(f"report: {Path(path).name} of {content}", text(path, content), REPORT, reported, Path(path).name)
          for path, content in others.items()),
        *(either(f"report: an evaluation.json of {name}", both(done(), text(evaluation, content)), PATIENT, of_case,
                 "evaluation.json", quick=name == "deep") for name, content in shapes.items()),
        *(either(f"report: curves of {name}", text(curves, content), REPORT, reported, "curves.json")
          for name, content in bad_curves.items()),
        works("report: a curve of one point", text(curves, '{"seed": {"axes": ["epoch", "training loss"], '
              '"curves": {"DWI": [0.5]}}}'), REPORT, reported),
        either("report: no phase's files", removed(f"{FOLD}/phases"), REPORT, reported, "fold_1"),
        works("report: ASCII only", nothing, PATIENT, of_case, encoding="ascii", quick=True),
        refused("report: no room", nothing, PATIENT, "MGCLTrainer__nnUNetPlans__2d", file_size=500),
        refused("report: no room for pictures", done(), f"{PATIENT}", "report", file_size=15_000),
        refused("report: a new patient with folds", nothing, f"{REPORT} --case X -f 0 -i gone -s gone", "-f",
                quick=True),
        refused("report: a new patient without images", nothing, f"{REPORT} --case X -i gone -s gone", "gone",
                quick=True),
        refused("report: a new patient without prediction", copied(f"{HERE}/gt_segmentations", "images"),
                f"{REPORT} --case X -i images -s gone", "gone"),
        refused("report: a file for the folder", text("elsewhere", ""), f"{PATIENT} -o elsewhere", "elsewhere"),
        refused("report: a loop for the folder", link("elsewhere", "elsewhere"), f"{PATIENT} -o elsewhere",
                "elsewhere"),
        refused("report: --case of nothing", nothing, f"{REPORT} --case ''", "--case"),
        refused("report: a case that nobody validated", nothing, f"{REPORT} --case case_99", "case_99"),
        refused("report: a mask that is a pipe", fifo(PREDICTION), f"{REPORT} --case case_06", "case_06.nii.gz"),
        either("report: a patient with markup", replaced(f"{HERE}/tss.csv", ",p1", ",<script>alert(1)</script>"),
               PATIENT, no_markup, "tss.csv"),
    ]  # fmt: skip


def no_markup(tree: Path, printed: str) -> None:
    of_case(tree, printed)
    assert "<script>alert" not in (tree / MODEL / "report" / "case_case_03.html").read_text()


ROWS = [*splits(), *masks(), *tables(), *structures(), *flags(), *reports()]


def test_row(row: Row, validated: Path) -> None:
    row.spoil(validated)
    meet(row, validated, OUTPUTS)
