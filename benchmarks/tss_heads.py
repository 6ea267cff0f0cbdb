"""The TSS heads against each other and against the ceiling, on phantoms, CPU.

Each seed draws 200 training and 200 test cases of 400 phantoms, trains the branches and every head on the training
cases (`nnUNetv2_train`, fold = seed) and reads the heads' probabilities of the test cases from `validation/tss.csv`.
The ceiling is a logistic regression on the true physical parameters of the same training cases. For --crossfit seeds
the branches are trained on each half of the training cases too: measures of the other half are then of unseen cases.

    python benchmarks/tss_heads.py --work /tmp/tss_heads --seeds 0 1 2 --crossfit 0
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from nnunet_mgcl.data.tss_table import TSSTable, read_tss_table
from nnunet_mgcl.network.lesion_head import LesionHead
from nnunet_mgcl.network.tss_heads import HEADS, MEASURES
from nnunet_mgcl.phantom.cases import training_cases
from nnunet_mgcl.phantom.describe import _parameters
from nnunet_mgcl.phantom.options import PhantomOptions
from nnunet_mgcl.phantom.patient import draw_case_clock
from nnunet_mgcl.plan.build import build_classifier
from nnunet_mgcl.system.files import read_json, write_json, write_text
from nnunet_mgcl.system.resources import trainers_dir
from nnunet_mgcl.system.versions import installed_versions
from nnunet_mgcl.tss.lesion_fit import fit_lesion_head
from nnunet_mgcl.tss.probability import read_inputs
from nnunet_mgcl.tss.volumes import load_volume

CASES, TRAINING = 400, 200
SIZES = (50, 100, 200)
"""Training cases of the heads; the branches have all 200."""
DRAWS = 10
"""Of fewer training cases than there are; their mean is reported."""
PLANS, HALVES = "MGCLPlans_tss", "MGCLPlans_halves"
BUDGET = (
    "segment.epochs=25", "segment.iterations=40", "segment.val_iterations=1", "segment.lr=0.003", "tss.epochs=15",
    'tss.compared=["mrff", "mrff_lesion", "mlp", "transformer"]',
)  # fmt: skip
"""Beside those of the preset demo; the heads that descend have batches of 8 and a rate of 0.003."""


def main() -> None:
    """Runs what has no result yet, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where everything is written")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--crossfit", type=int, nargs="*", default=[0], help="seeds that train on halves too")
    parser.add_argument("--id", type=int, default=602, help="number of the phantom dataset")
    parser.add_argument("--phantom-seed", type=int, default=102)
    parser.add_argument("--trainer", default="MGCLTrainerRandomInit")
    args = parser.parse_args()
    bench = Benchmark(args)
    bench.prepare()
    for seed in args.seeds:
        bench.once(f"seed_{seed}", lambda seed=seed: bench.heads(seed))
    for seed in args.crossfit:
        bench.once(f"crossfit_{seed}", lambda seed=seed: bench.crossfit(seed))
    table = markdown(bench.results)
    write_text(args.work / "results.md", table)
    print(table)


class Benchmark:
    """The dataset, its splits and what has been measured (`results.json`)."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.name = args, f"Dataset{args.id:03}_Phantom"
        use_folders(args.work)
        self.raw, self.preprocessed = (args.work / f"nnUNet_{part}" / self.name for part in ("raw", "preprocessed"))
        self.file = args.work / "results.json"
        self.results: dict[str, Any] = read_json(self.file) if self.file.is_file() else {}

    def prepare(self) -> None:
        """Draws and preprocesses the phantom, and writes plans and splits."""
        seed = self.args.phantom_seed
        if not (self.raw / "dataset.json").is_file():
            call("mgcl", "phantom", "-o", self.raw.parent, "--cases", CASES, "--unlabelled", 0, "--test", 0,
                 "--seed", seed, "--matrix", 64, "--id", self.args.id)  # fmt: skip
        if not (self.preprocessed / "nnUNetPlans_2d").is_dir():
            call("nnUNetv2_plan_and_preprocess", "-d", self.args.id, "-c", "2d", "-np", 1, "-npfp", 1,
                 nnUNet_n_proc_DA="1")  # fmt: skip
        for plans, more in ((PLANS, ()), (HALVES, ("tss.compared=[]",))):
            if not (self.preprocessed / f"{plans}.json").is_file():
                call("mgcl", "plan", "-d", self.args.id, "-c", "2d", "--preset", "demo", "--plans-name", plans,
                     "--set", *BUDGET, *more)  # fmt: skip
        self.cases = sorted(path.name.removesuffix(".nii.gz") for path in (self.raw / "labelsTr").glob("*.nii.gz"))
        splits = []
        for seed in range(max(self.args.seeds) + 1):
            drawn = [str(case) for case in np.random.default_rng(seed).permutation(self.cases)]
            train, test, half = drawn[:TRAINING], drawn[TRAINING:], TRAINING // 2
            splits += [{"train": train, "val": test}]
            # Few validation cases: the measures of the other half are read afterwards.
            splits += [{"train": train[:half], "val": test[:2]}, {"train": train[half:], "val": test[:2]}]
        write_json(self.preprocessed / "splits_final.json", splits)
        self.splits = splits

    def once(self, key: str, measure: Any) -> None:
        """Measures what is not there yet and writes it down."""
        if key not in self.results:
            started = time.time()
            self.results[key] = measure() | {"seconds": round(time.time() - started)}
            self.results["made_with"] = installed_versions() | {"commit": commit(), "phantom": self.phantom_options()}
            write_json(self.file, self.results)

    def heads(self, seed: int) -> dict[str, Any]:
        """Test AUROC of every head with all training cases, and of the cheap ones with fewer."""
        fold = 3 * seed
        validation = self.train(fold, PLANS) / "validation"
        summary = read_json(validation / "tss_summary.json")
        train, test = self.splits[fold]["train"], self.splits[fold]["val"]
        measures, truth = self.measures(fold, PLANS, self.cases), self.true_parameters()
        found = {kind: metrics["AUROC"] for kind, metrics in summary["heads"].items()}
        again = self.fitted_auroc(measures, train, test)
        assert abs(again - found["lesion"]) < 0.005, (again, found["lesion"])
        sizes = {}
        for size in SIZES:
            draws = [train] if size == len(train) else self.draws(train, size)
            sizes[str(size)] = {
                "lesion": float(np.mean([self.fitted_auroc(measures, own, test) for own in draws])),
                "ceiling": float(np.mean([self.fitted_auroc(truth, own, test) for own in draws])),
            }
        return {"auroc": found, "sizes": sizes, "dice": read_json(validation / "summary_modalities.json")["mean"]}

    def crossfit(self, seed: int) -> dict[str, Any]:
        """The lesion head fitted on measures of seen and of unseen cases, with branches of unseen test cases."""
        fold, half = 3 * seed, TRAINING // 2
        train, test = self.splits[fold]["train"], self.splits[fold]["val"]
        seen = self.measures(fold, PLANS, self.cases)
        unseen = dict(seen)
        for number, other in ((1, train[half:]), (2, train[:half])):
            self.train(fold + number, HALVES)
            unseen |= self.measures(fold + number, HALVES, other)
        return {
            "in-sample": self.fitted_auroc(seen, train, test),
            "cross-fitted": self.fitted_auroc(unseen, train, test),
        }

    def train(self, fold: int, plans: str) -> Path:
        """Trains and validates a fold, going on where an earlier run stopped; returns its folder."""
        folder = self.model(plans) / f"fold_{fold}"
        if not (folder / "validation" / "tss_summary.json").is_file():
            goes_on = ["--c"] if folder.is_dir() else []
            call("nnUNetv2_train", self.args.id, "2d", fold, "-tr", self.args.trainer, "-p", plans,
                 "-device", "cpu", *goes_on)  # fmt: skip
        return folder

    def model(self, plans: str) -> Path:
        """The results folder."""
        return Path(os.environ["nnUNet_results"]) / self.name / f"{self.args.trainer}__{plans}__2d"

    def measures(self, fold: int, plans: str, cases: Sequence[str]) -> dict[str, torch.Tensor]:
        """What the lesion head reads of cases, by the network of a fold."""
        from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

        from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor

        predictor = MGCLPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
        predictor.initialize_from_trained_model_folder(str(self.model(plans)), [fold])
        network, plan = predictor.network, predictor.configuration_manager
        network.load_state_dict(predictor.list_of_parameters[0])
        head, folder = build_classifier(plan, "lesion"), str(self.preprocessed / plan.data_identifier)
        images = infer_dataset_class(folder)(folder, list(cases))
        with torch.inference_mode():
            return {
                case: read_inputs(network.eval(), [head], load_volume(images, case), predictor.config, plan)[0][
                    MEASURES
                ][0]
                for case in cases
            }

    def fitted_auroc(self, values: dict[str, torch.Tensor], train: Sequence[str], test: Sequence[str]) -> float:
        """Fits as phase `tss` does on some cases; AUROC of others."""
        table, (x, y) = self.table, (torch.stack([values[case] for case in cases]) for cases in (train, test))
        head = LesionHead([x.shape[1] - 1])
        fit_lesion_head(head, x, [bool(table.positive(case)) for case in train])
        with torch.no_grad():
            logits = head(y)
        return float(roc_auc_score([bool(table.positive(case)) for case in test], logits.numpy()))

    def draws(self, train: Sequence[str], size: int) -> list[list[str]]:
        """Subsets of the training cases."""
        random = np.random.default_rng(0)
        return [[str(case) for case in random.permutation(list(train))[:size]] for _ in range(DRAWS)]

    def true_parameters(self) -> dict[str, torch.Tensor]:
        """The physical parameters from which each case was drawn."""
        options = PhantomOptions(**self.phantom_options())
        drawn = training_cases(options)
        rows = _parameters([draw_case_clock(case, options) for case in drawn])
        return {case.name: torch.from_numpy(row).float() for case, row in zip(drawn, rows, strict=True)}

    def phantom_options(self) -> dict[str, Any]:
        """As they were given to `mgcl phantom`."""
        known = {field.name for field in dataclasses.fields(PhantomOptions)}
        return {key: value for key, value in read_json(self.raw / "dataset.json")["phantom"].items() if key in known}

    @property
    def table(self) -> TSSTable:
        """The known times."""
        return read_tss_table(self.raw / "tss.csv", self.cases)


def use_folders(work: Path) -> None:
    """Lets nnU-Net work in a folder, with a process for each task and batches made in the training's own."""
    for variable in ("raw", "preprocessed", "results"):
        folder = work / f"nnUNet_{variable}"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{variable}"] = str(folder)
    os.environ["nnUNet_extTrainer"] = str(trainers_dir())
    os.environ.setdefault("nnUNet_def_n_proc", "1")
    os.environ.setdefault("nnUNet_n_proc_DA", "0")  # nnU-Net's planner takes it as a number of threads


def call(*command: object, **environment: str) -> None:
    """Runs a command, quietly unless it fails."""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def commit() -> str:
    """Of the working copy."""
    found = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"


def markdown(results: dict[str, Any]) -> str:
    """AUROC of the test cases: mean and each seed."""
    seeds = [own for key, own in sorted(results.items()) if key.startswith("seed_")]
    rows = ["| reader | training cases | AUROC, mean | each seed |", "|---|---|---|---|"]
    for size in map(str, SIZES):
        for name in ("ceiling", "lesion"):
            rows.append(_row(name, size, [own["sizes"][size][name] for own in seeds]))
    for kind in HEADS:
        rows.append(_row(f"`{kind}`", str(TRAINING), [own["auroc"][kind] for own in seeds]))
    for key, own in sorted(results.items()):
        if key.startswith("crossfit_"):
            told = {name: own[name] for name in ("in-sample", "cross-fitted")}
            rows += [_row(f"lesion, {name} measures ({key})", str(TRAINING), [auroc]) for name, auroc in told.items()]
    return "\n".join(rows) + "\n"


def _row(name: str, size: str, values: Sequence[float]) -> str:
    return f"| {name} | {size} | {np.mean(values):.3f} | {', '.join(f'{value:.3f}' for value in values)} |"


if __name__ == "__main__":
    main()
