"""The paper's Table 4 on a phantom: TSS classifiers that train on 200 cases, tested on 200 others.

Folds 0 to 4 are a cross-validation of the first 200 cases; fold 5 trains on all of them and validates the others. The
masks that the classifiers read of their training cases come from folds 0 to 4, those of the test cases from fold 5: no
network has seen what it predicts, and nothing of a test case is in any training.

    mgcl phantom -o $nnUNet_raw --cases 400 --unlabelled 60 --test 0 --matrix 64 --slices 8 --seed 104 --id 604
    nnUNetv2_plan_and_preprocess -d 604 -c 2d
    mgcl plan -d 604 -c 2d --preset demo --set 'tss.compared=["mrff","mrff_lesion"]' tss.copies=4 tss.epochs=15
    python benchmarks/table4.py -d 604 -p MGCLPlans_demo --out benchmarks/results/table4

Each method leaves its test cases' probabilities in the folder, from which the table is made: a row a method, and one
for each other head of MGCLTrainer's. Run it again after a stop: what is there stays, on another machine too, so that
methods may be run side by side (--methods).
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from label_efficiency import commit

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.results import FINAL, results_of
from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.evaluation.measures.classification import auroc, rates
from nnunet_mgcl.evaluation.runs.tss_validation import OTHER_HEAD
from nnunet_mgcl.evaluation.statistics.delong import delong_test
from nnunet_mgcl.evaluation.statistics.intervals import draws, interval
from nnunet_mgcl.system.files import read_json, write_json, write_text

TRAINER = "MGCLTrainer"
"""Its head and its masks take part, and the others are compared with it."""
UNMASKED = ("resnet", "densenet", "resnet-truemask", "densenet-truemask")
MASKED = ("mismatch", "radiomics-svm", "resnet-mask", "densenet-mask")
METHODS = (TRAINER, *MASKED, *UNMASKED)
RATES = ("ACC", "SEN", "SPE")
TEST = 5
"""The fold of the test cases."""


def main() -> None:
    """Trains and asks what has no probabilities yet, then writes the table of what has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, help="dataset")
    parser.add_argument("-p", required=True, help="plans")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--out", type=Path, required=True, help="folder of the probabilities and the table")
    args = parser.parse_args()
    layout = DatasetLayout.find(args.d)
    write_split(layout)
    args.out.mkdir(parents=True, exist_ok=True)
    missing = [name for name in args.methods if not (args.out / f"{name}.json").is_file()]
    if {*missing} & {TRAINER, *MASKED}:
        train_folds(args)
    for name in missing:
        started = time.time()
        if name != TRAINER:
            masks = ["--masks", model_of(TRAINER, args)] if name in MASKED else []
            call("mgcl", "classifier", "-d", args.d, "-c", "2d", "-p", args.p, "--method", name, "-f", str(TEST),
                 "-device", "cpu", *masks)  # fmt: skip
        seconds = None if name == TRAINER else round(time.time() - started)
        write_json(args.out / f"{name}.json", measured(args, name) | {"seconds": seconds})
    if not (args.out / f"{TRAINER}.json").is_file():
        return print(f"The table is made once {TRAINER} is among the methods")
    write_json(args.out / "table4.json", rows := table(args.out, layout))
    write_text(args.out / "table4.md", text := markdown(rows))
    print(text)


def write_split(layout: DatasetLayout) -> None:
    """Writes the six folds, each class of the table in proportion."""
    positive = classes(layout)
    random = np.random.default_rng(4)
    halves: tuple[list[str], list[str]] = ([], [])
    for kind in (True, False):
        own = [str(case) for case in random.permutation([case for case in positive if positive[case] == kind])]
        halves[0].extend(own[: len(own) // 2])
        halves[1].extend(own[len(own) // 2 :])
    train, test = map(sorted, halves)
    order = sorted(train, key=lambda case: (positive[case], case))
    folds = [sorted(order[number::5]) for number in range(5)]
    splits = [{"train": [case for case in train if case not in fold], "val": fold} for fold in folds]
    write_json(layout.splits, [*splits, {"train": train, "val": test}])


def train_folds(args: argparse.Namespace) -> None:
    """All folds of the trainer, going on where one was stopped."""
    for fold in range(TEST + 1):
        root = results_of(args.d) / model_of(TRAINER, args) / f"fold_{fold}"
        if (root / "validation/summary.json").is_file():
            continue
        begun = ["--val"] if (root / FINAL).is_file() else ["--c"] if (root / "phases/inputs.json").is_file() else []
        call("nnUNetv2_train", args.d, "2d", str(fold), "-tr", TRAINER, "-p", args.p, "-device", "cpu", *begun)


def measured(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """What a method, and each of its heads, says of the test cases, and what made it say so."""
    with (results_of(args.d) / model_of(name, args) / f"fold_{TEST}" / "validation/tss.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    said = {
        key.removeprefix(OTHER_HEAD): {row["case"]: float(row[key]) for row in rows}
        for key in rows[0] if key.startswith("probability")
    }  # fmt: skip
    versions = {package: version(package) for package in ("nnunetv2", "torch", "monai", "mirp", "scikit-learn")}
    return {"said": said.pop("probability"), "heads": said, "commit": commit(), "versions": versions}


def table(folder: Path, layout: DatasetLayout) -> dict[str, Any]:
    """A row a method; differences are the method's AUROC less the trainer's, with DeLong's p of the same cases."""
    rows: dict[str, Any] = {}
    positive = classes(layout)
    for name, content, said_of in answers(folder):
        cases = sorted(said_of)
        actual, said = (np.array([of[case] for case in cases]) for of in (positive, said_of))
        areas = np.array([auroc(said[draw], actual[draw]) for draw in draws(cases)])
        if name == TRAINER:
            reference, of_reference = said, areas
        area, called = auroc(said, actual), rates(said >= 0.5, actual)
        less = {"difference": area - auroc(reference, actual), **interval([*(areas - of_reference)])}
        rows[name] = {
            "AUROC": area, "ci95": interval([*areas])["ci95"],
            **{rate: called[rate] for rate in RATES},
            "less": less | {"p": delong_test(said, reference, actual)["p"]},
            **{key: content[key] for key in ("seconds", "commit", "versions")},
        }  # fmt: skip
    return {"cases": len(cases), "positive": int(actual.sum()), "rows": rows}


def answers(folder: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, float]]]:
    """Name of a row, what the method left and the probabilities of its cases."""
    for name in (name for name in METHODS if (folder / f"{name}.json").is_file()):
        content = read_json(folder / f"{name}.json")
        yield name, content, content["said"]
        for head, said in content.get("heads", {}).items():
            yield f"{name}, head {head}", content, said


def markdown(content: dict[str, Any]) -> str:
    """The table of the docs."""
    lines = [
        "| | AUROC | ACC | SEN | SPE | AUROC less MGCL's | DeLong's p | min |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in content["rows"].items():
        cells = [f"`{name}`", f"{row['AUROC']:.3f} ({row['ci95'][0]:.3f} to {row['ci95'][1]:.3f})"]
        cells += [f"{row[rate]:.2f}" for rate in RATES]
        if name == TRAINER:
            cells += ["", "", ""]
        else:
            less, (low, high) = row["less"], row["less"]["ci95"]
            cells += [f"{less['difference']:+.3f} ({low:+.3f} to {high:+.3f})", f"{less['p']:.3g}"]
            cells += [f"{row['seconds'] / 60:.0f}" if row["seconds"] else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def classes(layout: DatasetLayout) -> dict[str, bool]:
    """Labelled case -> whether its TSS is below 4.5 h."""
    cases = sorted(path.name.removesuffix(".nii.gz") for path in raw_of(layout).joinpath("labelsTr").glob("*.nii.gz"))
    table = read_tss_table(raw_of(layout) / "tss.csv", cases)
    return {case: bool(table.positive(case)) for case in cases}


def raw_of(layout: DatasetLayout) -> Path:
    """The dataset's raw folder."""
    assert layout.raw, "set nnUNet_raw"
    return layout.raw


def model_of(name: str, args: argparse.Namespace) -> str:
    """A model's results folder."""
    return f"{name}__{args.p}__2d"


def call(*words: str) -> None:
    """Runs a command."""
    print("$", *words, flush=True)
    subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
