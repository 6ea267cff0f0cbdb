"""`mgcl plan` on odd names, values and files."""

from __future__ import annotations

import json
from pathlib import Path

from tests.corpus.row import Row, either, meet, refused, works
from tests.corpus.spoil import DEEP, DIGITS, both, edited, fifo, folder, nothing, removed, text

HERE = "preprocessed/Dataset901_Tiny"
PLANS, DATASET = f"{HERE}/nnUNetPlans.json", f"{HERE}/dataset.json"
OUTPUTS = (f"{HERE}/MGCLPlans*.json",)
PLAN = "plan -d 901 -c 2d"
ALL_QUICK = True


def written(name: str = "MGCLPlans", **expected: object):
    """The plans were written, with these values in `2d`."""

    def check(tree: Path, printed: str) -> None:
        plans = json.loads((tree / HERE / f"{name}.json").read_text())
        assert plans["plans_name"] == name and name in printed
        assert {key: plans["configurations"]["2d"].get(key) for key in expected} == expected

    return check


def names() -> list[Row]:
    """Where the plans go is decided by their name; `tests/unit/system/test_names.py` has those that are paths."""
    others = ("{}", '{"labels": {}}', "[]", "not JSON")
    return [
        either("-o of nothing", nothing, f"{PLAN} -o ''", written(), "plans"),
        refused("-o with a space", nothing, f"{PLAN} -o 'MGCLPlans of us'", "MGCLPlans of us"),
        refused("-o of the plans to start from", nothing, f"{PLAN} -o nnUNetPlans --overwrite", "plans to start from"),
        *(refused(f"--overwrite of {content}", text(f"{HERE}/MGCLPlans.json", content), f"{PLAN} --overwrite",
                  "MGCLPlans.json") for content in others),
        refused("-o is a folder", folder(f"{HERE}/MGCLPlans.json"), f"{PLAN} --overwrite", "MGCLPlans.json"),
        refused("-o is a pipe", fifo(f"{HERE}/MGCLPlans.json"), PLAN, "MGCLPlans.json"),
    ]  # fmt: skip


def values() -> list[Row]:
    """Single values."""
    bad = {
        "coarse.epochs=1e999": "coarse.epochs", "coarse.epochs=-1": "coarse.epochs", "coarse.epochs=": "coarse.epochs",
        f"coarse.epochs={DIGITS}": "coarse.epochs", "coarse.lr=NaN": "coarse.lr", "coarse.epoch=1": "did you mean",
        "configuration.batchsize=1": "'batch_size'?", "coarse.epochs": "--set coarse.epochs", "=1": "--set",
        "coarse=1": "coarse", "coarse.=1": "an empty key",
        "coarse.epochs=1=2": "'1=2'", "coarse.batch_size=1000000000000": "batch_size",
        "configuration.batch_size=1000000000000": "batch_size", f"configuration.batch_size={DIGITS}": "batch_size",
        f"coarse.batch_size={10**4000}": "batch_size", f"configuration.batch_size={10**4000}": "batch_size",
        "configuration.=1": "configuration", "configuration.batch_size=0": "batch_size",
        "configuration.batch_size=-3": "batch_size", "configuration.batch_size=two": "a number like 12",
        "configuration.batch_size=2.5": "batch_size", "configuration.batch_size=true": "batch_size",
        "configuration.patch_size=[0,0]": "patch_size", "configuration.patch_size=[32]": "patch_size",
        "configuration.patch_size=7": "a list", "configuration.spacing=[-1,1]": "spacing",
        "configuration.spacing=[NaN,1]": "spacing", "configuration.spacing=[0,0]": "spacing",
        "configuration.normalization_schemes=[\"Nope\",\"Nope\",\"Nope\"]": "normalization_schemes",
        "configuration.__class__=1": "__class__", "coarse.__init__=1": "__init__",
    }  # fmt: skip
    return [
        *(refused(f"--set {value:.50}", nothing, f"{PLAN} --set '{value}'", part) for value, part in bad.items()),
        works("a configuration twice", nothing, "plan -d 901 -c 2d 2d --set coarse.epochs=7",
              written(mgcl={"coarse": {"epochs": 7}})),
        works("ASCII only", nothing, f"{PLAN} --preset short", written("MGCLPlans_short"), encoding="ascii"),
        works("a terminal of Windows", nothing, f"{PLAN} --preset short", written("MGCLPlans_short"),
              encoding="cp1252"),
        refused("no room", nothing, PLAN, "MGCLPlans.json", file_size=1000),
    ]  # fmt: skip


def structures() -> list[Row]:
    """Files that cannot be read; `test_spoilt_json.py` and `test_typed_json.py` in tests/unit/system have more."""
    nan = text("own.json", '{"configurations": {"2d": {"mgcl": {"coarse": {"lr": NaN}}}}}')
    return [
        refused("preset: a list", text("own.json", "[1]"), f"{PLAN} --preset own.json", "own.json"),
        refused("preset: a pipe", fifo("own.json"), f"{PLAN} --preset own.json", "own.json"),
        refused("preset: NaN", nan, f"{PLAN} --preset own.json", "coarse.lr"),
        refused("plans: a list", text(PLANS, "[1]"), PLAN, "nnUNetPlans.json"),
        refused("dataset.json: deep", text(DATASET, DEEP), PLAN, "dataset.json"),
        refused("dataset.json: gone", removed(DATASET), PLAN, "dataset.json"),
        works("unknown keys of others", both(edited(PLANS, lambda p: p["configurations"]["2d"].update(theirs=1)),
              edited(DATASET, lambda d: d.update(theirs={"a": [1]}))), PLAN, written(theirs=1)),
        refused("-p of plans that are not there", nothing, f"{PLAN} -p Plans", "Plans.json", "['nnUNetPlans']"),
        refused("an unknown preset", nothing, f"{PLAN} --preset papers", "'paper'?"),
        refused("-d of a path", nothing, "plan -d ../x -c 2d", "../x"),
        refused("-d of nothing", nothing, "plan -d '' -c 2d", "dataset"),
        refused("-p of a path", nothing, f"{PLAN} -p ../Dataset901_Tiny/nnUNetPlans", "../Dataset901_Tiny/nnUNetPlans"),
        refused("-p of dataset.json", nothing, f"{PLAN} -p dataset", "dataset"),
        refused("-c of nothing", nothing, "plan -d 901 -c ''", "configuration"),
    ]  # fmt: skip


ROWS = [*names(), *values(), *structures()]


def test_row(row: Row, planned: Path) -> None:
    row.spoil(planned)
    meet(row, planned, OUTPUTS)
