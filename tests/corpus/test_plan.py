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
    """A preset of one's own."""
    bad = {
        "a list": "[1]", "null": "null", "a number": "3", "deep": DEEP, "digits": f'{{"configurations": {DIGITS}}}',
        "configurations as a list": '{"configurations": [1]}', "a configuration as a list":
        '{"configurations": {"2d": [1]}}', "empty": "", "half": '{"configurations"', "NaN":
        '{"configurations": {"2d": {"mgcl": {"coarse": {"lr": NaN}}}}}',
    }  # fmt: skip
    where = {"a configuration as a list": "2d", "NaN": "coarse.lr"}
    return [
        refused(f"preset: {name}", text("own.json", content), f"{PLAN} --preset own.json", where.get(name, "own.json"),
                quick=name in ("a list", "deep"))
        for name, content in bad.items()
    ] + [
        refused("preset: a folder", folder("own.json"), f"{PLAN} --preset own.json", "own.json"),
        refused("preset: a pipe", fifo("own.json"), f"{PLAN} --preset own.json", "own.json"),
        refused("preset: a link to itself", link("own.json", "own.json"), f"{PLAN} --preset own.json", "own.json"),
    ]  # fmt: skip


def structures() -> list[Row]:
    """Plans and dataset.json that are JSON and nothing else."""
    plans = {
        "configurations as a list":
        lambda p: p.update(configurations=[1]), "a configuration as a list":
        lambda p: p["configurations"].update({"2d": [1]}), "a configuration of null":
        lambda p: p["configurations"].update({"2d": None}), "inherits from a list":
        lambda p: p["configurations"]["2d"].update(inherits_from=[1]), "no patch size":
        lambda p: p["configurations"]["2d"].pop("patch_size"), "no architecture":
        lambda p: p["configurations"]["2d"].pop("architecture"), "an architecture of text":
        lambda p: p["configurations"]["2d"].update(architecture="UNet"), "a batch of text":
        lambda p: p["configurations"]["2d"].update(batch_size="two"),
    }  # fmt: skip
    datasets = {
        "labels as a list": lambda d: d.update(labels=["background"]),
        "no background": lambda d: d["labels"].pop("background"), "no labels": lambda d: d.pop("labels"),
        "no channel_names": lambda d: d.pop("channel_names"), "channel_names as text":
        lambda d: d.update(channel_names="DWI"), "channels by name": lambda d: d.update(channel_names={"DWI": 0}),
        "a label of text": lambda d: d["labels"].update(DWI="one"),
        "an empty dataset": lambda d: d.clear(),
    }  # fmt: skip
    quick = {"a list", "configurations as a list", "labels as a list", "no channel_names", "no background"}
    of_plans = {"a configuration as a list": "2d", "a configuration of null": "2d", "no patch size": "patch_size",
                "inherits from a list": "inherits_from", "no architecture": "architecture",
                "an architecture of text": "architecture", "a batch of text": "batch_size"}  # fmt: skip
    of_dataset = {"labels as a list": "labels", "no background": "background", "no labels": "labels",
                  "a label of text": "DWI"}  # fmt: skip
    return [
        refused(f"plans: {name}", edited(PLANS, change), PLAN, of_plans.get(name, "nnUNetPlans"), quick=name in quick)
        for name, change in plans.items()
    ] + [
        refused(f"dataset.json: {name}", edited(DATASET, change), PLAN, of_dataset.get(name, "dataset.json"),
                quick=name in quick)
        for name, change in datasets.items()
    ] + [
        *(refused(f"{name}: {what}", text(path, content), PLAN, name, quick=what == "a list")
          for name, path in (("nnUNetPlans", PLANS), ("dataset.json", DATASET))
          for what, content in {"a list": "[1]", "a number": "3", "a text": '"x"', "null": "null"}.items()),
        refused("plans: deep", text(PLANS, DEEP), PLAN, "nnUNetPlans.json"),
        refused("plans: digits", text(PLANS, f'{{"plans_name": {DIGITS}}}'), PLAN, "nnUNetPlans.json"),
        refused("plans: NUL", text(PLANS, "\0" * 10), PLAN, "nnUNetPlans.json"),
        refused("plans: UTF-16", text(PLANS, "{}", "utf-16"), PLAN, "nnUNetPlans.json"),
        refused("plans: a folder", folder(PLANS), PLAN, "nnUNetPlans.json"),
        refused("plans: a pipe", fifo(PLANS), PLAN, "nnUNetPlans.json"),
        refused("dataset.json: deep", text(DATASET, DEEP), PLAN, "dataset.json", quick=True),
        refused("dataset.json: a link to itself", link(DATASET, "dataset.json"), PLAN, "dataset.json"),
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
