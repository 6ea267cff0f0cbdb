"""MGCLTrainer against stock nnUNetTrainer on the Hippocampus task, few labels, CPU.

Three arms on the same plan and the same held-out cases:

- `mgcl`: the whole cascade, `segment` with --iterations iterations;
- `stock`: nnUNetTrainer with the same number of iterations as `segment`;
- `stock_total`: nnUNetTrainer with the number of all supervised iterations of the cascade (seed, self_train, segment).

    python benchmarks/hippocampus.py --data Dataset004_Hippocampus --work /tmp/hippocampus --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np

from nnunet_mgcl.system.resources import trainers_dir

DATASET, LABELLED, UNLABELLED, HELD_OUT = 4, 20, 60, 40
NAME = "Dataset004_Hippocampus"
PLANS = "nnUNetPlans"
BUDGET = (
    "seed.epochs=2", "self_train.epochs=1", "coarse.epochs=3", "fine.epochs=1", "pseudo_label.mirroring=false",
    "seed.lr=0.001", "self_train.lr=0.001", "coarse.lr=0.001", "fine.lr=0.001",
)  # fmt: skip
"""What a CPU can do in minutes. The paper's learning rate of 1e-4 needs its 80 to 200 epochs."""


def main() -> None:
    """Builds the dataset once, then runs what has no result yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the raw task, imagesTr and labelsTr")
    parser.add_argument("--work", type=Path, required=True, help="where everything is written")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=["stock", "mgcl", "stock_total"])
    parser.add_argument("--iterations", type=int, default=400, help="iterations of segment, a multiple of 50")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--set", nargs="*", default=list(BUDGET), help="mgcl keys, as for `mgcl plan --set`")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    set_environment(args.work)
    if not (args.work / "pre" / NAME / f"{PLANS}.json").is_file():
        build_dataset(args.data, args.work)
        call("nnUNetv2_plan_and_preprocess", "-d", DATASET, "-c", "2d", "-np", 2, "-npfp", 2)
    set_batch_size(args.work, args.batch_size)
    results_file = args.work / "results.json"
    results = json.loads(results_file.read_text()) if results_file.is_file() else {}
    for seed in args.seeds:
        for arm in args.arms:
            key = f"{arm}_{seed}"
            if key not in results:
                results[key] = run_arm(arm, seed, args)
                results_file.write_text(json.dumps(results, indent=2))
    report(results)


def set_environment(work: Path) -> None:
    """nnU-Net's folders and trainers."""
    for variable, folder in (
        ("nnUNet_raw", "raw"),
        ("nnUNet_preprocessed", "pre"),
        ("nnUNet_results", "res"),
    ):
        os.environ[variable] = str(work / folder)
        (work / folder).mkdir(parents=True, exist_ok=True)
    own = Path(__file__).parent / "trainers"
    os.environ["nnUNet_extTrainer"] = os.pathsep.join([str(trainers_dir()), str(own)])
    os.environ.setdefault("nnUNet_def_n_proc", "2")
    os.environ.setdefault("nnUNet_n_proc_DA", "1")


def build_dataset(data: Path, work: Path) -> None:
    """Draws labelled, unlabelled and held-out cases with a fixed seed."""
    cases = sorted(path.name.removesuffix("_0000.nii.gz") for path in (data / "imagesTr").glob("*.nii.gz"))
    drawn = np.random.default_rng(4).permutation(cases)
    raw = work / "raw" / NAME
    groups = {
        "Tr": drawn[:LABELLED],
        "Un": drawn[LABELLED : LABELLED + UNLABELLED],
        "Ts": drawn[LABELLED + UNLABELLED : LABELLED + UNLABELLED + HELD_OUT],
    }
    for suffix, names in groups.items():
        for folder in (raw / f"images{suffix}", raw / f"labels{suffix}"):
            folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy(data / "imagesTr" / f"{name}_0000.nii.gz", raw / f"images{suffix}")
            if suffix != "Un":
                shutil.copy(data / "labelsTr" / f"{name}.nii.gz", raw / f"labels{suffix}")
    (raw / "labelsUn").rmdir()
    dataset = json.loads((data / "dataset.json").read_text()) | {"numTraining": LABELLED}
    (raw / "dataset.json").write_text(json.dumps(dataset, indent=4))


def set_batch_size(work: Path, batch_size: int) -> None:
    """One batch size for all arms, small enough for a CPU."""
    path = work / "pre" / NAME / f"{PLANS}.json"
    plans = json.loads(path.read_text())
    if plans["configurations"]["2d"]["batch_size"] != batch_size:
        plans["configurations"]["2d"]["batch_size"] = batch_size
        path.write_text(json.dumps(plans, indent=4))


def run_arm(arm: str, seed: int, args: argparse.Namespace) -> dict:
    """Trains on all labelled cases, predicts the held-out ones; returns Dice and time."""
    started = time.time()
    if arm == "mgcl":
        trainer, plans = "MGCLTrainer", f"MGCLPlans_hippocampus_{seed}"
        call(
            "mgcl",
            "plan",
            "-d",
            DATASET,
            "-c",
            "2d",
            "--preset",
            "paper",
            "--plans-name",
            plans,
            "--overwrite",
            "--set",
            f"random_seed={seed}",
            f"configuration.batch_size={args.batch_size}",
            f"segment.epochs={args.iterations // 50}",
            "segment.iterations=50",
            "segment.val_iterations=2",
            *args.set,
        )
    else:
        trainer, plans = ("nnUNetTrainerBudget" if arm == "stock" else "nnUNetTrainerBudgetTotal"), PLANS
        total = args.iterations if arm == "stock" else supervised_iterations(args.work)
        os.environ |= {"BUDGET_SEED": str(seed), "BUDGET_ITERATIONS": str(total)}
    model = args.work / "res" / NAME / f"{trainer}__{plans}__2d"
    shutil.rmtree(model, ignore_errors=True)
    call("nnUNetv2_train", DATASET, "2d", "all", "-tr", trainer, "-p", plans, "-device", args.device)
    trained = time.time() - started
    output = args.work / "predictions" / f"{arm}_{seed}"
    call(
        "nnUNetv2_predict",
        "-i",
        args.work / "raw" / NAME / "imagesTs",
        "-o",
        output,
        "-d",
        DATASET,
        "-c",
        "2d",
        "-tr",
        trainer,
        "-p",
        plans,
        "-f",
        "all",
        "-device",
        args.device,
        "-npp",
        1,
        "-nps",
        1,
        "--disable_progress_bar",
    )
    call(
        "nnUNetv2_evaluate_folder",
        args.work / "raw" / NAME / "labelsTs",
        output,
        "-djfile",
        model / "dataset.json",
        "-pfile",
        model / "plans.json",
        "-np",
        1,
    )
    summary = json.loads((output / "summary.json").read_text())
    dice = [np.mean([m["Dice"] for m in case["metrics"].values()]) for case in summary["metric_per_case"]]
    result = {
        "dice": summary["foreground_mean"]["Dice"],
        "sd_cases": float(np.std(dice, ddof=1)),
        "labels": {label: values["Dice"] for label, values in summary["mean"].items()},
        "seconds": trained,
    }
    print(f"{arm} seed {seed}: Dice {result['dice']:.4f}, {trained:.0f} s")
    return result


def supervised_iterations(work: Path) -> int:
    """Counts seed, self_train and segment iterations of a finished mgcl run from its log, rounded to 50."""
    logs = sorted((work / "res" / NAME).glob("MGCLTrainer__*__2d/fold_all/training_log_*.txt"))
    text = logs[-1].read_text()
    phases = re.findall(r"MGCL: (?:seed|self_train) \w+: epochs 1-(\d+), (\d+) iterations", text)
    plans = json.loads((logs[-1].parents[1] / "plans.json").read_text())
    segment = plans["configurations"]["2d"]["mgcl"]["segment"]
    total = sum(int(e) * int(i) for e, i in phases) + segment["epochs"] * segment["iterations"]
    return round(total / 50) * 50


def call(*command: object) -> None:
    """Runs a command, quietly unless it fails."""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def report(results: dict) -> None:
    """Prints mean and spread an arm."""
    for arm in ("stock", "mgcl", "stock_total"):
        dice = [value["dice"] for key, value in results.items() if re.fullmatch(rf"{arm}_\d+", key)]
        if dice:
            spread = f" sd {statistics.stdev(dice):.4f}" if len(dice) > 1 else ""
            print(f"{arm:12} mean Dice {statistics.mean(dice):.4f}{spread}  ({', '.join(f'{d:.4f}' for d in dice)})")


if __name__ == "__main__":
    main()
