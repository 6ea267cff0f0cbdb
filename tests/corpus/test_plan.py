"""`mgcl plan` on odd names, values and files."""

from __future__ import annotations

import json
from pathlib import Path

from tests.corpus.row import Row, either, meet, refused, works
from tests.corpus.spoil import DEEP, DIGITS, both, copied, edited, fifo, folder, link, nothing, removed, text

HERE = "preprocessed/Dataset901_Tiny"
PLANS, DATASET = f"{HERE}/nnUNetPlans.json", f"{HERE}/dataset.json"
OUTPUTS = (f"{HERE}/MGCLPlans*.json",)
PLAN = "plan -d 901 -c 2d"


def written(name: str = "MGCLPlans", **expected: object):
    """The plans were written, with these values in `2d`."""

    def check(tree: Path, printed: str) -> None:
        plans = json.loads((tree / HERE / f"{name}.json").read_text())
        assert plans["plans_name"] == name and name in printed
        assert {key: plans["configurations"]["2d"].get(key) for key in expected} == expected

    return check


def names() -> list[Row]:
    """Where the plans go is decided by their name."""
    bad = ["dataset", "splits_final", "dataset_fingerprint", "../../x", "../x", "a/b", "/dev/shm/x", ".", ".."]
    bad += ["'a\tb'", "x" * 300, "'a\nb'"]
    files = both(text(f"{HERE}/splits_final.json", "[]"), text(f"{HERE}/dataset_fingerprint.json", "{}"))
    return [
        refused(f"-o {name!r:.30}", files, f"{PLAN} -o {name} --overwrite", name[:9].strip("'").split()[0], quick=n < 4)
        for n, name in enumerate(bad)
    ] + [
        either("-o of nothing", nothing, f"{PLAN} -o ''", written(), "plans"),
        refused("-o with a space", nothing, f"{PLAN} -o 'MGCLPlans of us'", "MGCLPlans of us"),
        refused("-o of other plans", copied(PLANS, f"{HERE}/MGCLPlans.json"), PLAN, "MGCLPlans.json", "--overwrite"),
        works("--overwrite of plans", copied(PLANS, f"{HERE}/MGCLPlans.json"), f"{PLAN} --overwrite", written()),
        refused("--overwrite of no plans", text(f"{HERE}/MGCLPlans.json", "{}"), f"{PLAN} --overwrite",
                "MGCLPlans.json"),
        refused("-o is a folder", folder(f"{HERE}/MGCLPlans.json"), f"{PLAN} --overwrite", "MGCLPlans.json"),
        refused("-o is a pipe", fifo(f"{HERE}/MGCLPlans.json"), PLAN, "MGCLPlans.json", quick=True),
    ]  # fmt: skip


def values() -> list[Row]:
    """Single values."""
    bad = {
        "coarse.epochs=1e999": "coarse.epochs", "coarse.epochs=-1": "coarse.epochs", "coarse.epochs=": "coarse.epochs",
        f"coarse.epochs={DIGITS}": "coarse.epochs", "coarse.lr=NaN": "coarse.lr", "coarse.epoch=1": "did you mean",
        "configuration.batchsize=1": "'batch_size'?", "coarse.epochs": "--set coarse.epochs", "=1": "--set",
        "coarse=1": "coarse", "coarse.=1": "coarse.",
        "configuration.=1": "configuration", "configuration.batch_size=0": "batch_size",
        "configuration.batch_size=-3": "batch_size", "configuration.batch_size=two": "batch_size",
        "configuration.batch_size=2.5": "batch_size", "configuration.batch_size=true": "batch_size",
        "configuration.patch_size=[0,0]": "patch_size", "configuration.patch_size=[32]": "patch_size",
        "configuration.patch_size=7": "patch_size", "configuration.spacing=[-1,1]": "spacing",
        "configuration.spacing=[NaN,1]": "spacing", "configuration.spacing=[0,0]": "spacing",
        "configuration.normalization_schemes=[\"Nope\",\"Nope\",\"Nope\"]": "normalization_schemes",
        "configuration.__class__=1": "__class__", "coarse.__init__=1": "__init__",
    }  # fmt: skip
    quick = {"coarse.epochs=-1", f"coarse.epochs={DIGITS}", "configuration.batch_size=0", "configuration.spacing=[0,0]"}
    return [
        refused(f"--set {value:.50}", nothing, f"{PLAN} --set '{value}'", part, quick=value in quick)
        for value, part in bad.items()
    ] + [
        either("a batch of 10^12", nothing, f"{PLAN} --set configuration.batch_size=1000000000000",
               written(batch_size=10**12), "batch_size", quick=True),
        works("a configuration twice", nothing, "plan -d 901 -c 2d 2d --set coarse.epochs=7",
              written(mgcl={"coarse": {"epochs": 7}})),
        works("ASCII only", nothing, f"{PLAN} --preset short", written("MGCLPlans_short"), encoding="ascii"),
        works("a terminal of Windows", nothing, f"{PLAN} --preset short", written("MGCLPlans_short"),
              encoding="cp1252", quick=True),
        refused("no room", nothing, PLAN, "MGCLPlans.json", file_size=1000, quick=True),
    ]  # fmt: skip


def presets() -> list[Row]:
    """A preset of one's own; `tests/unit/system/test_typed_json.py` has its content."""
    files = {
        "a list": text("own.json", "[1]"),
        "deep": text("own.json", DEEP),
        "empty": text("own.json", ""),
        "a folder": folder("own.json"),
        "a pipe": fifo("own.json"),
        "a link to itself": link("own.json", "own.json"),
    }
    nan = text("own.json", '{"configurations": {"2d": {"mgcl": {"coarse": {"lr": NaN}}}}}')
    return [
        *(refused(f"preset: {name}", spoil, f"{PLAN} --preset own.json", "own.json", quick=name in ("a list", "deep"))
          for name, spoil in files.items()),
        refused("preset: NaN", nan, f"{PLAN} --preset own.json", "coarse.lr"),
    ]  # fmt: skip


def structures() -> list[Row]:
    """Plans and dataset.json that cannot be read; `tests/unit/system/test_spoilt_json.py` has their content."""
    files = {"a list": "[1]", "deep": DEEP, "digits": f'{{"plans_name": {DIGITS}}}', "NUL": "\0" * 10}
    others = {"a folder": folder, "a pipe": fifo, "a link to itself": lambda path: link(path, Path(path).name)}
    changed = {
        "configurations as a list": (PLANS, lambda p: p.update(configurations=[1]), "nnUNetPlans"),
        "a configuration of null": (PLANS, lambda p: p["configurations"].update({"2d": None}), "2d"),
        "labels as a list": (DATASET, lambda d: d.update(labels=["background"]), "labels"),
        "no channel_names": (DATASET, lambda d: d.pop("channel_names"), "dataset.json"),
    }
    return [
        *(refused(f"{path}: {name}", text(path, content), PLAN, Path(path).name, quick=name in ("a list", "deep"))
          for path in (PLANS, DATASET) for name, content in files.items()),
        *(refused(f"{path}: {name}", spoil(path), PLAN, Path(path).name) for path in (PLANS, DATASET)
          for name, spoil in others.items()),
        *(refused(name, edited(path, change), PLAN, part, quick=True) for name, (path, change, part) in
          changed.items()),
        refused("plans: UTF-16", text(PLANS, "{}", "utf-16"), PLAN, "nnUNetPlans.json"),
        refused("dataset.json: gone", removed(DATASET), PLAN, "dataset.json"),
        works("unknown keys of others", both(edited(PLANS, lambda p: p["configurations"]["2d"].update(theirs=1)),
              edited(DATASET, lambda d: d.update(theirs={"a": [1]}))), PLAN, written(theirs=1), quick=True),
        refused("-p of plans that are not there", nothing, f"{PLAN} -p Plans", "Plans.json", "['nnUNetPlans']"),
        refused("an unknown preset", nothing, f"{PLAN} --preset papers", "'paper'?"),
        refused("-d of a path", nothing, "plan -d ../x -c 2d", "../x"),
        refused("-d of nothing", nothing, "plan -d '' -c 2d", "dataset"),
        refused("-p of a path", nothing, f"{PLAN} -p ../Dataset901_Tiny/nnUNetPlans", "../Dataset901_Tiny/nnUNetPlans"),
        refused("-p of dataset.json", nothing, f"{PLAN} -p dataset", "dataset"),
        refused("-c of nothing", nothing, "plan -d 901 -c ''", "configuration"),
    ]  # fmt: skip


ROWS = [*names(), *values(), *presets(), *structures()]


def test_row(row: Row, planned: Path) -> None:
    row.spoil(planned)
    meet(row, planned, OUTPUTS)
