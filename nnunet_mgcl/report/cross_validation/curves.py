"""Learning curves: of every phase for a model of this plugin, nnU-Net's own picture for a stock trainer."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from pydantic import Field

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.engine.curves import BESIDE, places
from nnunet_mgcl.engine.state import PhaseState
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.plan.build import resolved_config
from nnunet_mgcl.pretraining.lookup import phases_of
from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.style import CYCLE, GREY, HALF_WIDTH, figure_style
from nnunet_mgcl.report.page.wording import grouped
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there
from nnunet_mgcl.system.typed_json import OpenModel, read_typed

TITLE = "Learning curves"
STOCK_WIDTH = 5
"""Inches of nnU-Net's own picture, which is tall."""
LINES = ("-", "--", "-.", ":")
TITLES = {"segment": "segment: segmentation of all modalities", "tss": "tss: the TSS head"}
"""Of the phases that every trainer has."""


class _Panel(OpenModel):
    """What `Curves` notes of a phase."""

    axes: Annotated[list[str], Field(min_length=2, max_length=2)]
    curves: Annotated[dict[str, list[float]], Field(min_length=1)]
    at: dict[str, list[float]] = Field(default_factory=dict)
    beside: dict[str, dict[str, list[float]]] = Field(default_factory=dict)


def curves_section(run: ValidatedRun) -> Section:
    """A panel a phase with a line a branch and fold; skipped branches and folds without curves in words."""
    folds = {fold: FoldLayout(run.model / f"fold_{fold}") for fold in run.folds}
    if run.is_stock:
        return _stock(folds)
    paths = {fold: layout.phases / "curves.json" for fold, layout in folds.items()}
    noted = {fold: _noted(path) for fold, path in paths.items() if is_there(path)}
    curves = {fold: panels for fold, panels in noted.items() if panels is not None}
    skipped, unknown = _skipped(folds)
    phases = list(dict.fromkeys(phase for own in curves.values() for phase in own))
    names = list(dict.fromkeys(name for own in curves.values() for panel in own.values() for name in panel["curves"]))
    looks = {name: (CYCLE[i % len(CYCLE)], LINES[i % len(LINES)]) for i, name in enumerate(names)}
    titles = TITLES | {name: title for phase in phases_of(run.model) for name, title in phase.titles().items()}
    blocks = resolved_config(run.plan).blocks()
    limit = blocks["pseudo_label"].confidence if "pseudo_label" in blocks else None  # type: ignore[attr-defined]
    pictures = [
        _picture(
            phase,
            {fold: own[phase] for fold, own in curves.items() if phase in own},
            looks,
            titles.get(phase, phase),
            limit if phase == "pseudo_label_1" else None,
        )
        for phase in phases
    ]
    return Section.of(
        TITLE,
        "cross_validation/training/curves",
        pictures=pictures,
        curves=curves,
        broken=sorted(noted.keys() - curves.keys()),
        without=[fold for fold in run.folds if fold not in noted],
        gaps=_gaps(curves),
        unknown=unknown,
        skipped=skipped,
    )


def _skipped(folds: Mapping[int, FoldLayout]) -> tuple[dict[str, list[int]], list[int]]:
    """The folds of each branch and phase that had nothing to learn from, and those of which nobody knows."""
    skipped, unknown = [], []
    for fold, layout in folds.items():
        try:
            parts = PhaseState(layout.state, writes=False).skipped()
        except UserError:
            unknown.append(fold)
        else:
            skipped += [(part.replace("/", " of "), fold) for part in parts]
    return grouped(skipped), unknown


def _noted(path: Path) -> dict[str, dict[str, Any]] | None:
    """The curves that the training noted; None where it is half a file, or something else."""
    try:
        panels = {phase: panel.model_dump() for phase, panel in read_typed(dict[str, _Panel], path, "").items()}
    except UserError:
        return None
    fits = all(len(places(p, name)) == len(values) for p in panels.values() for name, values in p["curves"].items())
    return panels if fits else None


def _gaps(curves: Mapping[int, dict[str, Any]]) -> dict[str, list[int]]:
    """Where a loss was no number: a line cannot show it."""
    return grouped(
        (f"{phase} of {name}", fold)
        for fold, panels in curves.items()
        for phase, panel in panels.items()
        for name, values in panel["curves"].items()
        if not all(map(isfinite, values))
    )


def _picture(
    phase: str,
    panels: Mapping[int, dict[str, Any]],
    looks: Mapping[str, tuple[str, Any]],
    title: str,
    limit: float | None,
) -> Picture:
    counting, measured = next(iter(panels.values()))["axes"]
    with figure_style():
        figure = Figure(figsize=(HALF_WIDTH, 2.9))
        axes = figure.add_subplot()
        names = _draw(axes, panels, looks)
        axes.set(title=title, xlabel=counting, ylabel=measured)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        counted_to = [at for p in panels.values() for n in p["curves"] for at in places(p, n)] or [1]
        axes.set_xlim(min(counted_to) - 0.5, max(counted_to) + 0.5)
        axes.ticklabel_format(useOffset=False)
        axes.grid(alpha=0.25)
        if limit is not None:
            axes.axhline(limit, color=GREY, linestyle=":", linewidth=1.5)
        handles = [Line2D([], [], color=looks[n][0], linestyle=looks[n][1], label=n) for n in names]
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    last = {n: [v for p in panels.values() for v in p["curves"].get(n, [])[-1:] if isfinite(v)] for n in names}
    ends = ", ".join(f"{n} {sum(values) / len(values):.3g}" for n, values in last.items() if values)
    return Picture.of(
        f"curves_{phase}",
        figure,
        "cross_validation/training/curve",
        counting=counting,
        measured=measured,
        folds=panels,
        bounds=any(panel["beside"] for panel in panels.values()),
        phase=phase,
        limit=limit,
        ends=ends,
    )


def _draw(axes: Axes, panels: Mapping[int, dict[str, Any]], looks: Mapping[str, tuple[str, Any]]) -> list[str]:
    """Draws every curve; returns the names of those that have a value."""
    drawn = dict.fromkeys(looks, False)
    longest = max(len(values) for panel in panels.values() for values in panel["curves"].values())
    for panel in panels.values():
        for name, values in panel["curves"].items():
            drawn[name] |= any(map(isfinite, values))
            colour, line = looks[name]
            axes.plot(
                places(panel, name), values, color=colour, linestyle=line, alpha=0.7,
                linewidth=1.2 if len(panels) > 1 else 1.6, marker="." if longest < 15 else None,
            )  # fmt: skip
            for style, bound in zip(BESIDE, panel["beside"].get(name, {}).values(), strict=False):
                axes.plot(range(1, len(bound) + 1), bound, color=colour, linestyle=style, linewidth=0.6, alpha=0.6)
    return [name for name, there in drawn.items() if there]


def _stock(folds: Mapping[int, FoldLayout]) -> Section:
    """nnU-Net's own pictures."""
    paths = {fold: layout.root / "progress.png" for fold, layout in folds.items()}
    there = {fold: path for fold, path in paths.items() if is_there(path)}
    missing = [fold for fold in folds if fold not in there]
    pictures = [_own_picture(fold, path) for fold, path in there.items()]
    words = "cross_validation/training/stock_curves"
    return Section.of(TITLE, words, pictures=pictures, folded=len(pictures) > 1, missing=missing, drawn=there)


def _own_picture(fold: int, path: Path) -> Picture:
    image = imread(path)
    with figure_style():
        figure = Figure(figsize=(STOCK_WIDTH, STOCK_WIDTH * image.shape[0] / image.shape[1]))
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(image, aspect="auto")
        axes.set_axis_off()
    caption = f"Fold {fold}: nnU-Net's losses, pseudo Dice, epoch durations and learning rate."
    return Picture(f"progress_fold_{fold}", figure, caption, caption, drawing=False)
