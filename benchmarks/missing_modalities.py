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
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from label_efficiency import commit
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

MODALITIES = ("DWI", "FLAIR", "PWI")
SETS = [own for size in (1, 2, 3) for own in combinations(MODALITIES, size)]
TOKENS = ("mrff", "mrff_lesion")
HEADS = ("lesion", *TOKENS)
TRAINER, COPIES, DROPOUT = "MGCLTrainerRandomInit", 4, 0.3
MODELS = {"all": "MGCLPlans_missing", "own": "MGCLPlans_own"}
"""The one model, and that whose branches serve the sets; their plans."""
RESAMPLES = 2000
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
    summary = Summary(args.out, args.seeds, arms, bench).content()
    write_json(args.out / "missing_modalities.json", summary)
    write_text(args.out / "missing_modalities.md", table := markdown(summary))
    print(table)


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


class Summary:
    """The tables of what was measured."""

    def __init__(self, folder: Path, seeds: Sequence[int], arms: Sequence[str], bench: Benchmark) -> None:
        self.seeds, self.bench = seeds, bench
        self.measured = {(seed, arm): read_json(folder / f"seed_{seed}_{arm}.json") for seed in seeds for arm in arms}

    def content(self) -> dict[str, Any]:
        """AUROC by set, head and arm; differences from the models of the sets; what copies change; Dice."""
        rows: dict[str, Any] = {}
        for own in ("+".join(each) for each in SETS):
            for head in HEADS:
                arms = ("own", "all", *(["dropout"] if head in TOKENS else []))
                rows.setdefault(own, {})[head] = {arm: self.row(arm, "own", own, head) for arm in arms}
        whole = "+".join(MODALITIES)
        anew = (self.seeds[0], "anew") in self.measured
        copies = {head: self.row("all", "anew", whole, head) for head in TOKENS} if anew else {}
        each = {f"seed_{seed}, {arm}": content for (seed, arm), content in self.measured.items()}
        parts = {part: {key: content[part] for key, content in each.items()} for part in ("dice", "seconds")}
        made = {json.dumps(content["made_with"]): content["made_with"] for content in each.values()}
        return {"made_with": [*made.values()], "seeds": self.seeds, "rows": rows, "copies": copies, **parts}

    def row(self, arm: str, other: str, own: str, head: str) -> dict[str, Any]:
        """AUROC of each seed, and of its mean the difference from another arm."""
        areas, others = (
            np.array([self.areas(seed, which, own, head) for seed in self.seeds]) for which in (arm, other)
        )
        row: dict[str, Any] = {"auroc": areas[:, 0].tolist()}
        if arm != other:
            each, *draws = (areas - others).mean(axis=0)
            interval = np.quantile(draws, (0.025, 0.975)).tolist()
            row |= {"other": others[:, 0].tolist(), "difference": float(each), "ci95": interval}
        return row

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


def markdown(summary: dict[str, Any]) -> str:
    """AUROC by set and head, and differences from the model of the set; the same of the copies; Dice by model."""
    asked = [
        "| modalities | head | model of the set | one model | less | with dropout | less |",
        "|---|---|---|---|---|---|---|",
    ]
    for own, heads in summary["rows"].items():
        for head, arms in heads.items():
            cells = [cell for arm in ("all", "dropout") for cell in (_cells(arms[arm]) if arm in arms else ("", ""))]
            asked.append(_row(own, f"`{head}`", f"{np.mean(arms['own']['auroc']):.3f}", *cells))
    copies = ["| head | augmented anew | four copies | less |", "|---|---|---|---|"]
    copies += [_row(f"`{h}`", f"{np.mean(row['other']):.3f}", *_cells(row)) for h, row in summary["copies"].items()]
    dice = [_row("model", *MODALITIES), "|---|---|---|---|"]
    for arm in MODELS:
        each = [summary["dice"][f"seed_{seed}, {arm}"] for seed in summary["seeds"]]
        dice.append(_row(arm, *(", ".join(f"{one[name]:.3f}" for one in each) for name in MODALITIES)))
    return "\n\n".join("\n".join(lines) for lines in (asked, copies, dice)) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, str]:
    """Mean over the seeds, and the difference."""
    low, high = row["ci95"]
    return f"{np.mean(row['auroc']):.3f}", f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
