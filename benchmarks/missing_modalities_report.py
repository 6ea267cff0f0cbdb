"""Tables of what benchmarks/missing_modalities.py has left in a folder: AUROC by set, differences, Dice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_mgcl.system.files import read_json, write_json, write_text

MODALITIES = ("DWI", "FLAIR", "PWI")
SETS = [own for size in (1, 2, 3) for own in combinations(MODALITIES, size)]
TOKENS = ("mrff", "mrff_lesion")
HEADS = ("lesion", *TOKENS)
MODELS = {"all": "MGCLPlans_missing", "own": "MGCLPlans_own"}
"""The one model, and that whose branches serve the sets; their plans."""
RESAMPLES = 2000


class Report:
    """The tables of what was measured."""

    def __init__(self, folder: Path, seeds: Sequence[int], arms: Sequence[str], positive: Mapping[str, bool]) -> None:
        self.folder, self.seeds, self.positive = folder, seeds, positive
        self.measured = {(seed, arm): read_json(folder / f"seed_{seed}_{arm}.json") for seed in seeds for arm in arms}

    def written(self) -> str:
        """The tables as Markdown, which are left in the folder beside their content."""
        write_json(self.folder / "missing_modalities.json", content := self.content())
        write_text(self.folder / "missing_modalities.md", text := markdown(content))
        return text

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
        actual = np.array([self.positive[case] for case in content["cases"]])
        said = np.array(content["said"][own][head])
        random, order = np.random.default_rng(0), {case: number for number, case in enumerate(self.positive)}
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
