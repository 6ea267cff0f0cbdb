"""The paper's Table 4 on a phantom: TSS classifiers that train on 200 cases, tested on 200 others.

Folds 0 to 4 are a cross-validation of the first 200 cases; fold 5 trains on all of them and validates the others. The
masks that the classifiers read of their training cases come from folds 0 to 4, those of the test cases from fold 5: no
network has seen what it predicts, and nothing of a test case is in any training.

    mgcl phantom -o $nnUNet_raw --cases 400 --unlabelled 60 --test 0 --matrix 64 --slices 8 --seed 104 --id 604
    nnUNetv2_plan_and_preprocess -d 604 -c 2d
    mgcl plan -d 604 -c 2d --preset demo
    python benchmarks/table4.py -d 604 -p MGCLPlans_demo --out table4.json

Run it again after a stop: what is done stays.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from label_efficiency import commit

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.results import FINAL, results_of
from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.system.files import write_json

METHODS = (
    "mismatch", "radiomics-svm", "resnet", "resnet-mask", "resnet-truemask", "densenet", "densenet-mask",
    "densenet-truemask",
)  # fmt: skip
TEST = 5
"""The fold of the test cases."""


def main() -> None:
    """Trains what is missing, evaluates and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, help="dataset")
    parser.add_argument("-p", required=True, help="plans")
    parser.add_argument("-tr", default="MGCLTrainer", help="the trainer whose head and masks take part")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("-device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    layout = DatasetLayout.find(args.d)
    write_split(layout)
    common = ["-d", args.d, "-c", "2d", "-p", args.p]
    model, seconds = f"{args.tr}__{args.p}__2d", {}
    for fold in range(TEST + 1):
        root = results_of(args.d) / model / f"fold_{fold}"
        if not (root / "validation/summary.json").is_file():
            begun = (
                ["--val"] if (root / FINAL).is_file() else ["--c"] if (root / "phases/inputs.json").is_file() else []
            )
            words = [args.d, "2d", str(fold), "-tr", args.tr, "-p", args.p, "-device", args.device, *begun]
            call("nnUNetv2_train", *words)
    for method in args.methods:
        started, masks = time.time(), [] if method in ("resnet", "densenet") or "true" in method else ["--masks", model]
        call("mgcl", "classifier", *common, "--method", method, "-f", str(TEST), "-device", args.device, *masks)
        seconds[method] = round(time.time() - started)
    names = [args.tr, *args.methods]
    for name in names:
        call("mgcl", "evaluate", *common, "-tr", name, "-f", str(TEST))
    folders = [f"{name}__{args.p}__2d" for name in names]
    call("mgcl", "compare", *folders, "-d", args.d, "-f", str(TEST), "-o", str(args.out.with_suffix(".compare.json")))
    write_json(args.out, collected(args, names, seconds))


def write_split(layout: DatasetLayout) -> None:
    """Writes the six folds, each class of the table in proportion."""
    cases = sorted(path.stem for path in (layout.raw or Path()).joinpath("labelsTr").glob("*.nii.gz"))
    cases = [case.removesuffix(".nii") for case in cases]
    table = read_tss_table((layout.raw or Path()) / "tss.csv", cases)
    random = np.random.default_rng(4)
    halves: tuple[list[str], list[str]] = ([], [])
    for positive in (True, False):
        own = [str(case) for case in random.permutation([case for case in cases if table.positive(case) == positive])]
        halves[0].extend(own[: len(own) // 2])
        halves[1].extend(own[len(own) // 2 :])
    train, test = map(sorted, halves)
    order = sorted(train, key=lambda case: (bool(table.positive(case)), case))
    folds = [sorted(order[number::5]) for number in range(5)]
    splits = [{"train": [case for case in train if case not in fold], "val": fold} for fold in folds]
    write_json(layout.splits, [*splits, {"train": train, "val": test}])


def call(*words: str) -> None:
    """Runs a command."""
    print("$", *words, flush=True)
    subprocess.run(words, check=True)


def collected(args: argparse.Namespace, names: list[str], seconds: dict[str, int]) -> dict[str, Any]:
    """A row a method, from `evaluation_folds_5.json` and the comparison with the first one."""
    compared = json.loads(args.out.with_suffix(".compare.json").read_text())["comparisons"]
    rows = {}
    for name in names:
        folder = results_of(args.d) / f"{name}__{args.p}__2d"
        tss = json.loads((folder / f"evaluation_folds_{TEST}.json").read_text())["tss"]
        point = tss["operating_points"]["0.5"]["pooled"]
        area = tss["measures"]["pooled"]["AUROC"]
        own = [e for e in compared if e["second"] == folder.name and e["measure"] == "AUROC"]
        rows[name] = {
            "AUROC": area["value"], "ci95": area["ci95"],
            **{rate: point[rate]["value"] for rate in ("ACC", "SEN", "SPE")},
            "less": {key: own[0][key] for key in ("difference", "ci95", "delong")} if own else None,
            "seconds": seconds.get(name),
        }  # fmt: skip
    versions = {package: version(package) for package in ("nnunetv2", "torch", "monai", "mirp", "scikit-learn")}
    return {"dataset": args.d, "plans": args.p, "commit": commit(), "versions": versions, "rows": rows}


if __name__ == "__main__":
    main()
