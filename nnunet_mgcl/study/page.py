"""A study as one HTML page, with its table as CSV and LaTeX beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnunet_mgcl.report.page.figure_files import write_pictures
from nnunet_mgcl.report.page.html import report_page
from nnunet_mgcl.report.page.section import Picture, Section, Table
from nnunet_mgcl.report.page.style import WIDTH, figure_style
from nnunet_mgcl.study.results import TSS
from nnunet_mgcl.study.tables import (
    as_csv,
    as_latex,
    cost_cells,
    difference_cells,
    name_of,
    score_cells,
    targets_of,
)
from nnunet_mgcl.system.files import write_json, write_text

RULES = {
    "equal-finetuning": "every trainer has the same segment; what pretraining took comes on top",
    "equal-total": "the reference was trained with as many samples through the network as the other trainer took in "
    "all its phases, in whole multiples of segment, rounded up; samples of every phase count alike, whatever part of "
    "the network it trained, and pretraining that is shared counts in full for each training",
}


def write_study(folder: Path, content: dict[str, Any]) -> Path:
    """Writes `index.html`, `study.json`, `study.csv` and `study.tex`; returns the page."""
    write_json(folder / "study.json", content)
    write_text(folder / "study.csv", as_csv(content))
    write_text(folder / "study.tex", as_latex(*score_cells(content)))
    sections = [_overview(content), _scores(content), *_differences(content), _costs(content)]
    notices = ["Research only; no clinical use", *(["Synthetic data: no patients"] if content["phantom"] else [])]
    if len(content["study"]["budgets"]) == 1:
        notices.append(f"One budget rule only: {content['study']['budgets'][0]}")
    images = write_pictures(folder, sections)
    title = f"Study {content['study']['name']}: {content['dataset']}"
    write_text(folder / "index.html", report_page(title, notices, sections, images))
    return folder / "index.html"


def _overview(content: dict[str, Any]) -> Section:
    study, jobs = content["study"], content["jobs"]
    text = [
        f"{jobs['done']} of {jobs['wanted']} trainings are done; rows whose trainings are not all done are left out.",
        *(f"Budget rule {rule}: {RULES[rule]}." for rule in study["budgets"]),
        f"Label-free phases were trained once where folds and fractions read the same scans, and {_over_seeds(study)}.",
    ]
    rows = [("trainers", ", ".join(study["trainers"])), ("reference", study["reference"])]
    rows += [(key, ", ".join(f"{value:g}" for value in study[key])) for key in ("fractions", "folds", "seeds")]
    rows += [("configuration", study["configuration"]), ("plans", study["plans"]), ("settings", str(study["settings"]))]
    return Section("The study", tuple(text), (Table("What was compared", ("", ""), tuple(rows)),))


def _over_seeds(study: dict[str, Any]) -> str:
    return "for all seeds too (with the first)" if study["share_pretraining"] else "for each seed anew"


def _scores(content: dict[str, Any]) -> Section:
    columns, rows = score_cells(content)
    targets = targets_of(content)
    auroc = " (of the AUROC over seeds)" if TSS in targets else ""
    caption = f"Mean and sd over folds and seeds{auroc}; folds share training data, so that the sd only describes"
    table = Table(caption, tuple(columns), tuple(map(tuple, rows)))
    pictures = [_curves(content, target) for target in targets]
    return Section("Scores", (), (table,), tuple(pictures))


def _curves(content: dict[str, Any], target: str) -> Picture:
    """Scores against labels, a line a trainer."""
    with figure_style():
        figure = Figure(figsize=(WIDTH, 3.6))
        axes = figure.add_subplot()
        rows = [row for row in content["rows"] if not row["segment_epochs"]]
        for number, name in enumerate(dict.fromkeys(map(name_of, rows))):
            own = [row for row in rows if name_of(row) == name and target in row["scores"]]
            own = sorted((row for row in own if row["scores"][target]["mean"] is not None), key=lambda r: r["fraction"])
            x = [100 * row["fraction"] * 1.012 ** (number - 4) for row in own]  # side by side
            y = [row["scores"][target]["mean"] for row in own]
            axes.plot(x, y, marker="osD^vP*X"[number % 8], linestyle=("-", "--")[number // 7 % 2], ms=4, label=name)
            for place, row in zip(x, own, strict=True):
                if bounds := row["scores"][target]["ci95"]:
                    axes.plot([place] * 2, bounds, linewidth=0.8, color=axes.lines[-1].get_color())
        _draw_longer(axes, content, target)
        axes.set_xscale("log")
        fractions = sorted({100 * row["fraction"] for row in content["rows"]})
        axes.set_xticks(fractions, [f"{own:g} %" for own in fractions], minor=False)
        axes.minorticks_off()
        axes.set_xlabel("labelled training cases")
        axes.set_ylabel("AUROC" if target == TSS else f"Dice, {target}")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7)
    caption = (
        "Against the share of the labels, every trainer with the same segment, with 95 % intervals of the patients; "
        "crosses: the reference with longer ones (equal-total). Points stand side by side."
    )
    alt = f"Lines of {target} against the share of labelled cases, one for each trainer."
    return Picture(f"study_{target}", figure, caption, alt)


def _draw_longer(axes: Axes, content: dict[str, Any], target: str) -> None:
    """The reference where it was trained for longer: what the same total reaches without a method."""
    longer = [row for row in content["rows"] if row["segment_epochs"] and target in row["scores"]]
    means = [(100 * row["fraction"] * 1.012**-8, row["scores"][target]["mean"]) for row in longer]
    if known := [own for own in means if own[1] is not None]:
        label = f"{content['study']['reference']}, longer"
        axes.plot(*zip(*known, strict=True), "x", color="black", ms=4, label=label)


def _differences(content: dict[str, Any]) -> list[Section]:
    sections = []
    for rule in content["study"]["budgets"]:
        columns, rows = difference_cells(content, rule)
        if rows:
            caption = f"Less {content['study']['reference']}, patient by patient (the mean of its cases and the seeds)"
            table = Table(caption, tuple(columns), tuple(map(tuple, rows)))
            sections.append(Section(f"Differences, {rule}", (f"{RULES[rule]}.".capitalize(),), (table,)))
    return sections


def _costs(content: dict[str, Any]) -> Section:
    columns, rows = cost_cells(content)
    caption = "Of one training, all phases but the TSS head; a batch of several kinds counts in proportion"
    return Section("What it cost", (), (Table(caption, tuple(columns), tuple(map(tuple, rows))),))
