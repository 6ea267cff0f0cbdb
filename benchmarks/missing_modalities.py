"""Patients who lack a modality, on phantoms, CPU: one model for every set of modalities, and a model trained for each.

Each seed draws 200 training and 200 test cases of 400 phantoms (fold = seed) and trains two models of all modalities,
alike but for their random seeds. The first one is asked without some of the modalities, with heads that were trained
without and with `tss.modality_dropout`. The second one gives each set of modalities a model of its own: branches are
trained side by side and never meet before the head, so that heads trained on the branches of a set (`tss.modalities`)
make its model. Every head is asked: AUROC of the test cases; Dice of each branch. Heads of tokens read four copies of
each training case (`tss.copies`), the same in all arms of a model; with --anew also new ones in every epoch.
Differences are of the first model less the model of the set, with the interval of 2,000 draws of patients, the mean
over the seeds in each.

    python benchmarks/missing_modalities.py --work DIR --seeds 0 1 2 --anew --out benchmarks/results/missing_modalities

Each arm of each seed leaves what it said in the folder --out, from which the table is made. Run it again after a stop:
what is there stays, on another machine too, so that seeds may be run side by side (in a DIR each).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from label_efficiency import commit
from missing_modalities_report import MODALITIES, MODELS, SETS, TOKENS, Report
from nnunetv2.run.run_training import get_trainer_from_args
from torch import Tensor
from tss_heads import BUDGET, CASES, TRAINING, call, use_folders

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.training_loop import Batch
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.plan.build import build_classifier
from nnunet_mgcl.system.files import read_json, write_json, write_text
from nnunet_mgcl.system.resources import offer_trainers
from nnunet_mgcl.system.safe_loading import load_weights
from nnunet_mgcl.system.versions import installed_versions
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer
from nnunet_mgcl.tss.batches import Copy, TSSCopies, TSSVolumes, open_batches, read_copy
from nnunet_mgcl.tss.phase import COMPARED, TSS
from nnunet_mgcl.tss.probability import load_head, tss_probabilities
from nnunet_mgcl.tss.volumes import load_volume

TRAINER, COPIES, DROPOUT = "MGCLTrainerRandomInit", 4, 0.3
SEEDS = 10
"""Folds that are written: at most so many seeds."""


def main() -> None:
    """Runs what has no result yet, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where everything is written")
    parser.add_argument("--out", type=Path, required=True, help="folder of what was measured, and of the table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--anew", action="store_true", help="also heads of tokens without copies")
    parser.add_argument("--id", type=int, default=630, help="number of the phantom dataset")
    parser.add_argument("--phantom-seed", type=int, default=105)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Benchmark(args)
    arms = ("all", "dropout", "own", *(["anew"] if args.anew else []))
    for seed in args.seeds:
        for arm in arms:
            if not (path := args.out / f"seed_{seed}_{arm}.json").is_file():
                write_text(path, json.dumps(bench.measured(seed, arm)) + "\n")
    print(Report(args.out, args.seeds, arms, bench.positive).written())


class Benchmark:
    """The phantoms and their split, and what models of them say."""

    def __init__(self, args: argparse.Namespace) -> None:
        use_folders(args.work)
        offer_trainers()
        self.name = f"Dataset{args.id:03}_Phantom"
        self.raw, self.preprocessed = (args.work / f"nnUNet_{part}" / self.name for part in ("raw", "preprocessed"))
        if not (self.raw / "dataset.json").is_file():
            call("mgcl", "phantom", "-o", self.raw.parent, "--cases", CASES, "--unlabelled", 0, "--test", 0,
                 "--seed", args.phantom_seed, "--matrix", 64, "--id", args.id)  # fmt: skip
        self.cases = sorted(path.name.removesuffix(".nii.gz") for path in (self.raw / "labelsTr").glob("*.nii.gz"))
        table = read_tss_table(self.raw / "tss.csv", self.cases)
        self.positive = {case: bool(table.positive(case)) for case in self.cases}
        if not (self.preprocessed / "nnUNetPlans_2d").is_dir():
            call("nnUNetv2_plan_and_preprocess", "-d", args.id, "-c", "2d", "-np", 1, "-npfp", 1,
                 nnUNet_n_proc_DA="1")  # fmt: skip
        tests = [self.test(seed) for seed in range(SEEDS)]
        splits = [{"train": sorted({*self.cases} - {*test}), "val": test} for test in tests]
        write_json(self.preprocessed / "splits_final.json", splits)

    def test(self, seed: int) -> list[str]:
        """The test cases of a seed."""
        drawn = [str(case) for case in np.random.default_rng(seed).permutation(self.cases)]
        return sorted(drawn[TRAINING:])

    def measured(self, seed: int, arm: str) -> dict[str, Any]:
        """Trains an arm and asks it: probabilities of the test cases, in their order, for each set and head."""
        started, test = time.time(), self.test(seed)
        fold = self.fold(seed, "own" if arm == "own" else "all")
        whole, heads = self.heads(seed, arm, fold, MODALITIES)
        said = {}
        for own in SETS if arm != "anew" else SETS[-1:]:
            if arm == "own" and own != MODALITIES:
                found = asked(whole, {"lesion": heads["lesion"]}, own, test)
                found |= asked(*self.heads(seed, arm, fold, own), own, test)
            else:
                found = asked(whole, heads, own, test)
            said["+".join(own)] = {head: [round(of[case], 6) for case in test] for head, of in found.items()}
        return {
            "cases": test,
            "said": said,
            "dice": read_json(fold / "validation/summary_modalities.json")["mean"],
            "seconds": round(time.time() - started),
            "made_with": installed_versions() | {"commit": commit()},
            "phantom": read_json(self.raw / "dataset.json")["phantom"],
        }

    def fold(self, seed: int, model: str) -> Path:
        """A fold of one of the two models, trained and validated, going on where an earlier run stopped."""
        plans = MODELS[model]
        self.plan(plans, model)
        fold = Path(os.environ["nnUNet_results"]) / self.name / f"{TRAINER}__{plans}__2d" / f"fold_{seed}"
        if not (fold / "validation/tss_summary.json").is_file():
            goes_on = ["--c"] if fold.is_dir() else []
            call("nnUNetv2_train", self.name, "2d", seed, "-tr", TRAINER, "-p", plans, "-device", "cpu", *goes_on)
        return fold

    def plan(self, name: str, model: str, *more: str) -> None:
        """Writes a plan of one of the two models."""
        if not (self.preprocessed / f"{name}.json").is_file():
            settings = [*BUDGET[:-1], f"random_seed={[*MODELS].index(model)}", *more]
            call("mgcl", "plan", "-d", self.name, "-c", "2d", "--preset", "demo", "--plans-name", name,
                 "--set", *settings)  # fmt: skip

    def heads(
        self, seed: int, arm: str, fold: Path, read: Sequence[str]
    ) -> tuple[MGCLTrainer, dict[str, TSSClassifier]]:
        """A trainer with the branches of a fold, and heads of tokens that learn on those of some modalities.

        The head `lesion` joins them where all are read: it is the fold's own, with a fit for each set of modalities.
        """
        plans, model = f"MGCLPlans_{arm}_{''.join(read)}", "own" if arm == "own" else "all"
        dropout = [f"tss.modality_dropout={DROPOUT}"] if arm == "dropout" else []
        self.plan(plans, model, f"tss.modalities={json.dumps([*read])}", *dropout)
        trainer = get_trainer_from_args(self.name, "2d", seed, TRAINER, plans, device=torch.device("cpu"))
        assert isinstance(trainer, MGCLTrainer)
        trainer.initialize()
        weights = load_weights(fold / "checkpoint_final.pth")["network_weights"]
        branches = {name: value for name, value in weights.items() if not name.startswith("tss.")}
        keys = trainer.mgcl_network.load_state_dict(branches, strict=False)
        assert not keys.unexpected_keys and all(name.startswith("tss.") for name in keys.missing_keys), keys
        context = trainer._build_context(trainer._prepare())
        copies = None if arm == "anew" else partial(copies_of, context, read, fold / "copies.pth")
        heads = TokenHeads(copies).trained(context)
        if arm in MODELS and tuple(read) == MODALITIES:
            heads["lesion"] = build_classifier(context.configuration, "lesion")
            load_head(heads["lesion"], FoldLayout(fold), "lesion")
        return trainer, heads


class TokenHeads(TSS):
    """Phase `tss` for the heads of tokens alone, on copies that other arms have too; without, as the phase does."""

    def __init__(self, copies: Callable[[TSSVolumes], list[Copy]] | None) -> None:
        self.copies = copies

    def trained(self, context: FoldContext) -> dict[str, TSSClassifier]:
        """The heads, trained or as an earlier run left them."""
        heads = {kind: self._new_head(context, kind) for kind in TOKENS}
        self._run_part(context, COMPARED, heads)
        return heads

    def _batches(
        self, context: FoldContext, heads: dict[str, TSSClassifier], cases: list[str]
    ) -> Callable[[], AbstractContextManager[Iterator[Batch]]]:
        volumes = TSSVolumes(context, cases)
        return partial(open_batches, context, TSSCopies(volumes, self.copies(volumes)) if self.copies else volumes)


def copies_of(context: FoldContext, read: Sequence[str], path: Path, volumes: TSSVolumes) -> list[Copy]:
    """What heads read of some modalities of augmented training cases: taken from that of all, which a fold keeps."""
    if not path.is_file():
        assert tuple(read) == MODALITIES
        heads = {kind: build_classifier(context.configuration, kind) for kind in TOKENS}
        made = [read_copy(context, volumes, heads, number) for number in range(COPIES)]
        torch.save([(copy.inputs, copy.valid) for copy in made], path)
    rows = [MODALITIES.index(name) for name in read]

    def of_some(maps: Tensor) -> Tensor:
        return maps.unflatten(1, (len(MODALITIES), -1))[:, rows].flatten(1, 2)

    return [
        Copy({reads: of_some(maps) for reads, maps in inputs.items()}, valid) for inputs, valid in load_weights(path)
    ]


def asked(
    trainer: MGCLTrainer, heads: Mapping[str, TSSClassifier], own: Sequence[str], cases: Sequence[str]
) -> dict[str, dict[str, float]]:
    """What heads say of preprocessed cases of which they get some modalities: head -> case."""
    assert trainer.preprocessed_dataset_folder
    images = trainer.dataset_class(trainer.preprocessed_dataset_folder, [*cases])
    network, config, plan = trainer.mgcl_network, trainer.config, trainer.configuration_manager
    found: dict[str, dict[str, float]] = {kind: {} for kind in heads}
    with network.with_present([index for index, name in enumerate(MODALITIES) if name in own]):
        for case in cases:
            for kind, probability in tss_probabilities(network, heads, load_volume(images, case), config, plan).items():
                found[kind][case] = probability
    return found


if __name__ == "__main__":
    main()
