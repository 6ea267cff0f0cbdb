"""Tables, a figure and one JSON file of what benchmarks/label_efficiency.py has left in a folder."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

RESAMPLES, LEVEL = 4000, 0.95
Results = dict[tuple[str, int, str, str], dict[int, dict[str, dict]]]
"""Dataset, number of labels, device and modality; then draw; then arm."""


def report(out: Path) -> None:
    """Prints the tables as Markdown and writes `results.json` (no curves) and `label_efficiency.svg`.

    Results of other machines may lie in folders within `out`.
    """
    results: Results = defaultdict(lambda: defaultdict(dict))
    kept = []
    for path in sorted(out.glob("**/Dataset*.json")):
        own = json.loads(path.read_text())
        key = own["dataset"], own["labels"], own.setdefault("device", "CPU"), own["modality"]
        results[key][own["draw"]][own["arm"]] = own
        kept.append({key: value for key, value in own.items() if key not in ("curves", "network")})
    (out / "results.json").write_text(json.dumps(kept, indent=1))
    for dataset, labels, device in sorted({key[:3] for key in results}):
        own = {key[3]: results[key] for key in results if key[:3] == (dataset, labels, device)}
        print(f"\n### {dataset}, {labels} labelled cases, {device}\n")
        print(scores_table(own))
        for arm in ("mean_teacher", "mgcl", "mgcl_cold", "random_long"):
            print(difference_line(own, arm, "random"))
    draw(results, out / "label_efficiency.svg")


def scores_table(own: dict[str, dict[int, dict[str, dict]]]) -> str:
    """Mean Dice of every draw, steps and core-seconds, an arm and modality; a draw that was not run is a dash."""
    lines = ["| modality | arm | mean Dice | each draw | steps | core-seconds |", "|---|---|---|---|---|---|"]
    for modality, draws in own.items():
        for arm in dict.fromkeys(arm for arms in draws.values() for arm in arms):
            runs = [arms.get(arm) for _, arms in sorted(draws.items())]
            dice, seconds = (np.mean([run[key] for run in runs if run]) for key in ("dice", "seconds"))
            each = ", ".join(f"{run['dice']:.3f}" if run else "-" for run in runs)
            steps = ", ".join(str(run["steps"]) if run else "-" for run in runs)
            lines.append(f"| {modality} | `{arm}` | {dice:.3f} | {each} | {steps} | {seconds:.0f} |")
    return "\n".join(lines)


def difference_line(own: dict[str, dict[int, dict[str, dict]]], arm: str, base: str) -> str:
    """The paired difference of two arms in each modality, and in the mean over them where each has a draw."""
    tables = {name: paired(draws, arm, base) for name, draws in own.items()}
    tables = {name: table for name, table in tables.items() if table}
    if not tables:
        return ""
    random = np.random.default_rng(0)
    resampled = {name: resample(table, random) for name, table in tables.items()}
    parts = [f"{name} {described(tables[name], values)}" for name, values in resampled.items()]
    together = np.mean(list(resampled.values()), axis=0)
    mean = mean_difference(tables)
    low, high = np.quantile(together, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    line = f"- `{arm}` less `{base}`: mean over modalities {mean:+.3f} ({low:+.3f} to {high:+.3f}); {', '.join(parts)}"
    without = [
        mean_difference(tables, left_out) for left_out in sorted({draw for table in tables.values() for draw in table})
    ]
    if len(without) < 2:
        return line
    return line + f"; without one of the draws the mean is {min(without):+.3f} to {max(without):+.3f}"


def mean_difference(tables: dict[str, dict[int, np.ndarray]], left_out: int | None = None) -> float:
    """The mean over modalities of the mean over draws, but for one."""
    kept = [[own.mean() for draw, own in table.items() if draw != left_out] for table in tables.values()]
    return float(np.mean([np.mean(own) for own in kept if own]))


def paired(draws: dict[int, dict[str, dict]], arm: str, base: str) -> dict[int, np.ndarray]:
    """Each draw's differences, one a test case with a lesion."""
    return {
        draw: np.array([arms[arm]["cases"][c] - d for c, d in arms[base]["cases"].items() if d is not None])
        for draw, arms in draws.items()
        if arm in arms and base in arms
    }


def resample(table: dict[int, np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Means of resamples: draws first, then test cases, the same ones in every draw."""
    values = np.stack(list(table.values()))
    draws, cases = values.shape
    return np.array(
        [
            values[random.integers(draws, size=draws)][:, random.integers(cases, size=cases)].mean()
            for _ in range(RESAMPLES)
        ]
    )


def described(table: dict[int, np.ndarray], resampled: np.ndarray) -> str:
    """Mean with its percentile interval."""
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return f"{np.mean([own.mean() for own in table.values()]):+.3f} ({low:+.3f} to {high:+.3f})"


def draw(results: Results, path: Path) -> None:
    """One panel a dataset, modality and number of labels: every draw's Dice of every arm."""
    figure = Figure(figsize=(3.2 * len(results), 3.4), layout="constrained")
    for place, ((dataset, labels, device, modality), draws) in enumerate(sorted(results.items()), start=1):
        axes = figure.add_subplot(1, len(results), place)
        arms = list(dict.fromkeys(arm for own in draws.values() for arm in own))
        for own in draws.values():
            present = [arm for arm in arms if arm in own]
            axes.plot([arms.index(arm) for arm in present], [own[arm]["dice"] for arm in present], "o-", alpha=0.6)
        axes.set_xticks(range(len(arms)), arms, rotation=30, ha="right")
        axes.set_title(f"{modality}, {labels} labels\n{dataset}, {device}", fontsize="small")
        axes.set_ylabel("Dice of the test cases")
        axes.grid(alpha=0.3)
    figure.savefig(path)
