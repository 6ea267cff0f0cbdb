"""Does each label-free method learn? kNN balanced accuracy of labelled cases' slices (patches for local methods).

The phases run over the pool as `mgcl pretrain` runs them; the labelled cases' masks only judge. A sample is judged by
its neighbours among the other patients (`pretraining/monitor/neighbours.py`), by an untrained network and by what a
phase left; of patches also by an untrained decoder on the trained encoder.

    python benchmarks/methods_learn.py -d 501 -p MGCLPlans_demo --seeds 0 1 2 --out methods_learn.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from label_efficiency import commit
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset, labelled_sources
from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.data.prepare import load_plans
from nnunet_mgcl.engine.branches import Branch, build_branches
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.plan.dataset_json import read_dataset_json
from nnunet_mgcl.plan.plans import deep_merge, resolve_block
from nnunet_mgcl.pretraining.handover import handed_on, load_parts
from nnunet_mgcl.pretraining.lookup import register_methods, trainer_class
from nnunet_mgcl.pretraining.monitor.neighbours import balanced_accuracy
from nnunet_mgcl.pretraining.monitor.probes import default_probe
from nnunet_mgcl.pretraining.monitor.samples import centre_samples, represent, spread_slices
from nnunet_mgcl.system.files import read_json
from nnunet_mgcl.training.on_pool import pretrain_on_pool

TRAINERS = ("SimCLRTrainer", "BYOLTrainer", "SimSiamTrainer", "PositionalCLTrainer", "GCLTrainer")
ENCODER = {"batch_size": 24, "lr": 3e-3}
BUDGET = {
    "simclr": {"epochs": 16, "temperature": 0.5, **ENCODER},
    "byol": {"epochs": 16, "momentum": 0.8, **ENCODER},
    "simsiam": {"epochs": 16, **ENCODER},
    "positional": {"epochs": 16, **ENCODER},
    "gcl_global": {"epochs": 16, **ENCODER},
    "gcl_local": {"epochs": 12, "batch_size": 6, "lr": 3e-3},
}
SLICES, SAMPLES = 400, 2000


def main() -> None:
    """Runs what the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, help="dataset")
    parser.add_argument("-p", default="MGCLPlans_demo", help="plans of a small network")
    parser.add_argument("--trainers", nargs="+", default=TRAINERS)
    parser.add_argument("--modalities", nargs="+", default=["DWI"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", type=json.loads, default={}, help="JSON that is merged into the budget")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    register_methods()
    results = json.loads(args.out.read_text()) if args.out.is_file() else {}
    for seed in args.seeds:
        for name in args.trainers:
            key = f"{name} {seed} {' '.join(args.modalities)}"
            if key not in results:
                results[key] = run(args, name, seed)
                args.out.write_text(json.dumps(results, indent=1))
            print(key, {k: v for k, v in results[key].items() if k in ("kNN", "spread", "seconds")}, flush=True)


def run(args: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Pretrains with one trainer and judges what each of its phases leaves."""
    layout, trainer = DatasetLayout.find(args.d), trainer_class(name)
    plans = load_plans(layout, args.p)
    own = plans["configurations"]["2d"]
    own["mgcl"] = deep_merge(deep_merge(own.get("mgcl", {}), BUDGET), args.set) | {"random_seed": seed}
    dataset_json = read_dataset_json(layout.dataset_json)
    started = time.process_time()
    stores = pretrain_on_pool(trainer, layout, plans, "2d", torch.device("cpu"), 1, lambda line, to_console=True: None)
    seconds = time.process_time() - started
    config = resolve_block(plans, "2d", dataset_json, tss_known=False, blocks=trainer.method_blocks())
    branches = [b for b in build_branches(config, plans, "2d", dataset_json) if b.name in args.modalities]
    identifier = PlansManager(plans).get_configuration("2d").data_identifier
    knn: dict[str, dict[str, list[float]]] = {}
    for branch in branches:
        cases = validation_cases(layout, identifier, branch)
        for phase in trainer.pretraining:
            store = next(s for s in stores if s.parent.name == phase.name and s.name.startswith(f"{branch.name}_"))
            unets = [start(seed, branch), start(seed, branch)]
            load_store(unets[1], store, branch, trainer.pretraining, phase)
            if phase.unit == "patches":  # in between: an untrained decoder on the same encoder
                unets.insert(1, start(seed, branch))
                unets[1].encoder.load_state_dict(unets[2].encoder.state_dict())
            knn.setdefault(branch.name, {})[phase.name] = [judge(unet, phase.unit, branch, cases) for unet in unets]
    return {
        "kNN": knn, "spread": spreads(stores), "seconds": round(seconds), "commit": commit(), "dataset": layout.name,
        "budget": {p.name: p.settings(config).model_dump(mode="json") for p in trainer.pretraining},
        "versions": {package: version(package) for package in ("nnunetv2", "torch")},
    }  # fmt: skip


def start(seed: int, branch: Branch) -> UNet:
    """An untrained network."""
    reseed(seed, branch.name, "untrained")
    return branch.build_unet()


def load_store(unet: UNet, store: Path, branch: Branch, phases: Any, last: Any) -> None:
    """Loads what the phases up to the last one left; the store of a later phase holds the earlier ones' too."""
    for phase in phases[: phases.index(last) + 1]:
        load_parts(unet, handed_on(phase.name, branch.name, FoldLayout(store)), phase.trains)


def validation_cases(layout: DatasetLayout, identifier: str, branch: Branch) -> ModalityDataset:
    """Fold 0's validation cases; no label-free phase has seen any labelled case."""
    cases = read_json(layout.splits)[0]["val"]
    folder = layout.preprocessed / identifier
    return ModalityDataset(labelled_sources(folder, cases, branch.channels, branch.lesion_labels, None))


def judge(unet: UNet, unit: str, branch: Branch, dataset: ModalityDataset) -> float:
    """KNN balanced accuracy of a network's representations."""
    probe = default_probe(unit, unet, branch.label_manager.ignore_label).eval()
    chosen = spread_slices(dataset, False, SLICES)
    batches = centre_samples(dataset, chosen, branch.configuration.patch_size)
    samples = represent({"now": probe}, batches, torch.device("cpu"), SAMPLES, 0)
    return round(balanced_accuracy(samples.representations["now"], samples.lesion, np.array(samples.cases)), 3)


def spreads(stores: list[Path]) -> dict[str, float]:
    """The last epoch's spread of the embeddings of every store that notes one."""
    found = {}
    for store in stores:
        for panel, content in read_json(FoldLayout(store).progress.with_name("curves.json")).items():
            if panel.endswith("_spread"):
                found |= {f"{panel} {branch}": round(values[-1], 2) for branch, values in content["curves"].items()}
    return found


if __name__ == "__main__":
    main()
