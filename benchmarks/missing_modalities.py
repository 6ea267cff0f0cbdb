"""Patients who lack a modality, on phantoms, CPU: one model for every set of modalities, and a model trained for each.

Each seed draws 200 training and 200 test cases of 400 phantoms (fold = seed). Arms: one model of all modalities,
without and with `tss.modality_dropout`, asked without some of them; and for every set of modalities a model that was
trained on a dataset of these alone. Beside them, one whose heads read four copies of each case in all epochs
(`tss.copies`), asked with all modalities. Every head is asked; AUROC of the test cases, and Dice of each lesion.
Differences are of the one model less the model of the set, with the interval of 2,000 draws of patients, the mean over
the seeds in each.

    python benchmarks/missing_modalities.py --work DIR --seeds 0 1 2 --out benchmarks/results/missing_modalities

Each arm of each seed leaves what it said in the folder --out, from which the table is made. Run it again after a stop:
what is there stays, on another machine too, so that seeds may be run side by side (in a DIR each).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from label_efficiency import commit
from tss_heads import BUDGET, CASES, TRAINING, call, use_folders

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
from nnunet_mgcl.plan.build import build_classifier
from nnunet_mgcl.system.files import read_json, write_json, write_text
from nnunet_mgcl.system.versions import installed_versions
from nnunet_mgcl.tss.probability import load_head, trained_heads, tss_probabilities
from nnunet_mgcl.tss.volumes import load_volume

MODALITIES = ("DWI", "FLAIR", "PWI")
SETS = [own for size in (1, 2, 3) for own in combinations(MODALITIES, size)]
HEADS = ("lesion", "mrff", "mrff_lesion")
TRAINER = "MGCLTrainerRandomInit"
SETTINGS = (*BUDGET[:-1], 'tss.compared=["mrff", "mrff_lesion"]')
PLANS = {"all": "MGCLPlans_missing", "dropout": "MGCLPlans_dropout", "copies": "MGCLPlans_copies"}
MORE = {"dropout": ("tss.modality_dropout=0.3",), "copies": ("tss.copies=4",)}
ARMS = (*PLANS, *("+".join(own) for own in SETS[:-1]))
RESAMPLES = 2000
SEEDS = 10
"""Folds that are written: at most so many seeds."""


def main() -> None:
    """Runs what has no result yet, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where everything is written")
    parser.add_argument("--out", type=Path, required=True, help="folder of what was measured, and of the table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--id", type=int, default=630, help="number of the phantom dataset; sets have the next six")
    parser.add_argument("--phantom-seed", type=int, default=105)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Benchmark(args)
    for seed in args.seeds:
        for arm in ARMS:
            if not (path := args.out / f"seed_{seed}_{arm}.json").is_file():
                write_text(path, json.dumps(bench.measured(seed, arm)) + "\n")
    summary = Summary(args.out, args.seeds, bench).content()
    write_json(args.out / "missing_modalities.json", summary)
    write_text(args.out / "missing_modalities.md", table := markdown(summary))
    print(table)


class Benchmark:
    """The phantoms, the datasets of their modalities, and what models of them say."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        use_folders(args.work)
        self.whole = args.work / "nnUNet_raw" / f"Dataset{args.id:03}_Phantom"
        if not (self.whole / "dataset.json").is_file():
            call("mgcl", "phantom", "-o", self.whole.parent, "--cases", CASES, "--unlabelled", 0, "--test", 0,
                 "--seed", args.phantom_seed, "--matrix", 64, "--id", args.id)  # fmt: skip
        self.cases = sorted(path.name.removesuffix(".nii.gz") for path in (self.whole / "labelsTr").glob("*.nii.gz"))
        table = read_tss_table(self.whole / "tss.csv", self.cases)
        self.positive = {case: bool(table.positive(case)) for case in self.cases}

    def measured(self, seed: int, arm: str) -> dict[str, Any]:
        """Trains an arm and asks it: probabilities of the test cases, in their order, for each set and head; Dice."""
        started, test = time.time(), self.test(seed)
        names = MODALITIES if arm in PLANS else tuple(arm.split("+"))
        dataset = self.dataset(names)
        plans = PLANS.get(arm, PLANS["all"])
        model = Path(os.environ["nnUNet_results"]) / dataset / f"{TRAINER}__{plans}__2d"
        fold = model / f"fold_{seed}"
        if not (fold / "validation/tss_summary.json").is_file():
            goes_on = ["--c"] if fold.is_dir() else []
            call("nnUNetv2_train", dataset, "2d", seed, "-tr", TRAINER, "-p", plans, "-device", "cpu", *goes_on)
        sets = SETS if arm in ("all", "dropout") else [names]
        said = {"+".join(own): probabilities(model, dataset, seed, test, own) for own in sets}
        phantom = read_json(self.whole / "dataset.json")["phantom"]
        return {
            "dice": read_json(fold / "validation/summary_modalities.json")["mean"],
            "cases": test,
            "said": {own: {head: [round(of[c], 6) for c in test] for head, of in each.items()}
                     for own, each in said.items()},
            "seconds": round(time.time() - started),
            "made_with": installed_versions() | {"commit": commit(), "phantom": phantom},
        }  # fmt: skip

    def dataset(self, names: Sequence[str]) -> str:
        """Writes, preprocesses and plans the dataset of a set of modalities; its name."""
        number = self.args.id + (SETS.index(tuple(names)) + 1) % len(SETS)
        raw = (
            self.whole if len(names) == len(MODALITIES) else self.whole.parent / f"Dataset{number:03}_{''.join(names)}"
        )
        if not (raw / "dataset.json").is_file():
            write_subset(self.whole, raw, names)
        preprocessed = Path(os.environ["nnUNet_preprocessed"]) / raw.name
        if not (preprocessed / "nnUNetPlans_2d").is_dir():
            call("nnUNetv2_plan_and_preprocess", "-d", number, "-c", "2d", "-np", 1, "-npfp", 1, nnUNet_n_proc_DA="1")
        for name, plans in PLANS.items():
            if not (preprocessed / f"{plans}.json").is_file():
                call("mgcl", "plan", "-d", number, "-c", "2d", "--preset", "demo", "--plans-name", plans,
                     "--set", *SETTINGS, *MORE.get(name, ()))  # fmt: skip
        splits = []
        for seed in range(SEEDS):
            test = self.test(seed)
            splits.append({"train": sorted({*self.cases} - {*test}), "val": test})
        write_json(preprocessed / "splits_final.json", splits)
        return raw.name

    def test(self, seed: int) -> list[str]:
        """The test cases of a seed."""
        drawn = [str(case) for case in np.random.default_rng(seed).permutation(self.cases)]
        return sorted(drawn[TRAINING:])


class Summary:
    """The table of what was measured."""

    def __init__(self, folder: Path, seeds: Sequence[int], bench: Benchmark) -> None:
        self.seeds, self.bench = seeds, bench
        self.measured = {(seed, arm): read_json(folder / f"seed_{seed}_{arm}.json") for seed in seeds for arm in ARMS}

    def content(self) -> dict[str, Any]:
        """AUROC by set, arm and head; differences from the models of the sets; Dice."""
        rows: dict[str, Any] = {}
        for own in ("+".join(each) for each in SETS):
            trained = own if own in ARMS else "all"
            others = [arm for arm in PLANS if own in self.measured[self.seeds[0], arm]["said"]]
            for arm in dict.fromkeys((trained, *others)):
                for head in HEADS:
                    areas = np.array([self.areas(seed, arm, own, head) for seed in self.seeds])
                    row: dict[str, Any] = {"auroc": areas[:, 0].tolist()}
                    if arm != trained:
                        less = areas - [self.areas(seed, trained, own, head) for seed in self.seeds]
                        each, *draws = less.mean(axis=0)
                        row |= {"difference": float(each), "ci95": np.quantile(draws, (0.025, 0.975)).tolist()}
                    rows.setdefault(own, {}).setdefault("own" if arm == own else arm, {})[head] = row
        each = {f"seed_{seed}, {arm}": content for (seed, arm), content in self.measured.items()}
        parts = {part: {key: content[part] for key, content in each.items()} for part in ("dice", "seconds")}
        made = {json.dumps(content["made_with"]): content["made_with"] for content in each.values()}
        return {"made_with": [*made.values()], "seeds": self.seeds, "rows": rows, **parts}

    def areas(self, seed: int, arm: str, own: str, head: str) -> np.ndarray:
        """AUROC of the test cases of a seed, then those of the draws of patients."""
        content = self.measured[seed, arm]
        actual = np.array([self.bench.positive[case] for case in content["cases"]])
        said = np.array(content["said"][own][head])
        random, order = np.random.default_rng(0), {case: number for number, case in enumerate(self.bench.cases)}
        drawn = random.multinomial(len(order), np.full(len(order), 1 / len(order)), RESAMPLES)
        times = np.vstack([np.ones(len(actual), int), drawn[:, [order[case] for case in content["cases"]]]])
        early, late = said[actual][:, None], said[~actual]
        right = (early > late) + 0.5 * (early == late)
        pairs = times[:, actual].sum(1) * times[:, ~actual].sum(1)
        return np.asarray(((times[:, actual] @ right) * times[:, ~actual]).sum(1) / pairs)


def write_subset(source: Path, target: Path, names: Sequence[str]) -> None:
    """A dataset of some modalities: their channels, the combinations of their lesions, the same cases."""
    content = json.loads((source / "dataset.json").read_text())
    channels = [channel for name in names for channel in content["mgcl"]["modalities"][name]]
    for folder in ("imagesTr", "labelsTr"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for new, old in enumerate(channels):
        for path in sorted((source / "imagesTr").glob(f"*_{old:04}.nii.gz")):
            shutil.copy(path, target / "imagesTr" / path.name.replace(f"_{old:04}.", f"_{new:04}."))
    lesions = [content["mgcl"]["lesion_labels"][name] for name in names]
    for path in sorted((source / "labelsTr").glob("*.nii.gz")):
        labels = sitk.ReadImage(str(path))
        voxels = sitk.GetArrayFromImage(labels)
        bits = sum((np.isin(voxels, own).astype(np.uint8) << bit for bit, own in enumerate(lesions)), np.uint8(0))
        image = sitk.GetImageFromArray(np.asarray(bits, dtype=np.uint8))
        image.CopyInformation(labels)
        sitk.WriteImage(image, str(target / "labelsTr" / path.name))
    shutil.copy(source / "tss.csv", target / "tss.csv")
    numbers = range(2 ** len(names))
    content["labels"] = {
        "+".join(name for bit, name in enumerate(names) if number >> bit & 1) or "background": number
        for number in numbers
    }
    position = {old: new for new, old in enumerate(channels)}
    content["channel_names"] = {str(position[old]): content["channel_names"][str(old)] for old in channels}
    content["mgcl"] = {
        "modalities": {name: [position[c] for c in content["mgcl"]["modalities"][name]] for name in names},
        "lesion_labels": {name: [n for n in numbers if n >> bit & 1] for bit, name in enumerate(names)},
    }
    write_json(target / "dataset.json", content)


def probabilities(
    model: Path, dataset: str, fold: int, cases: Iterable[str], present: Sequence[str]
) -> dict[str, dict[str, float]]:
    """What each head of a fold says of preprocessed cases of which it gets some modalities: head -> case."""
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    predictor = MGCLPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
    predictor.initialize_from_trained_model_folder(str(model), [fold])
    network, plan, config = predictor.network, predictor.configuration_manager, predictor.config
    network.load_state_dict(predictor.list_of_parameters[0])
    heads, layout = {}, FoldLayout(model / f"fold_{fold}")
    for kind in trained_heads(layout):
        heads[kind] = build_classifier(plan, kind)
        load_head(heads[kind], layout, kind)
    folder = str(Path(os.environ["nnUNet_preprocessed"]) / dataset / plan.data_identifier)
    images = infer_dataset_class(folder)(folder, list(cases))
    found: dict[str, dict[str, float]] = {kind: {} for kind in heads}
    with network.with_present([number for number, name in enumerate(config.modalities) if name in present]):
        for case in cases:
            for kind, probability in tss_probabilities(network, heads, load_volume(images, case), config, plan).items():
                found[kind][case] = probability
    return found


def markdown(summary: dict[str, Any]) -> str:
    """AUROC by set and head, and differences from the model of the set; the same of the copies; Dice by model."""
    asked = [
        "| modalities | head | model of the set | one model | less | with dropout | less |",
        "|---|---|---|---|---|---|---|",
    ]
    copies = ["| head | augmented anew | four copies | less |", "|---|---|---|---|"]
    for own, arms in summary["rows"].items():
        for head in HEADS:
            trained = f"{np.mean(arms.get('own', arms['all'])[head]['auroc']):.3f}"
            asked.append(_row(own, f"`{head}`", trained, *_cells(arms["all"][head]), *_cells(arms["dropout"][head])))
            if "copies" in arms:
                copies.append(_row(f"`{head}`", trained, *_cells(arms["copies"][head])))
    dice = [_row("model of", *MODALITIES), "|---|---|---|---|"]
    for arm in (*("+".join(own) for own in SETS[:-1]), "all"):
        each = [summary["dice"][f"seed_{seed}, {arm}"] for seed in summary["seeds"]]
        own = [f"{np.mean([one[name] for one in each]):.3f}" if name in each[0] else "" for name in MODALITIES]
        dice.append(_row(arm, *own))
    return "\n\n".join("\n".join(lines) for lines in (asked, copies, dice)) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, str]:
    """Mean over the seeds, and the difference."""
    low, high = row.get("ci95", (0, 0))
    less = f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})" if "ci95" in row else ""
    return f"{np.mean(row['auroc']):.3f}", less


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
