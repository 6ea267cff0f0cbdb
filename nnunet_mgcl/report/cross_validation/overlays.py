"""The best, the median and the worst case: what a Dice looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.pictures.case_panels import CasePanels
from nnunet_mgcl.pictures.overlay import draw_overlay, outlines_in_words, overlay_figure
from nnunet_mgcl.report.case_images import CaseImages, channel_files, own_targets
from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.style import HALF_WIDTH, WIDTH, figure_style
from nnunet_mgcl.report.page.wording import without_folders
from nnunet_mgcl.system.errors import UserError, counted

TITLE = "Best, median and worst case"
WORDS = "cross_validation/segmentation"
MOST_LINES = 4
"""Scores over a case whose modalities share the targets."""


def overlays_section(run: ValidatedRun, content: Mapping[str, Any]) -> Section:
    """Draws three validated cases.

    Args:
        run: The evaluated folds.
        content: Of their `evaluation.json`.
    """
    ranked = ranked_cases(content["cases"])
    if not ranked:
        return Section(TITLE, ("No case has a Dice: neither a reference nor a prediction holds a lesion.",))
    tie = len(ranked) > 1 and ranked[0][0] == ranked[-1][0]
    chosen = chosen_cases(ranked)
    words: dict[str, Any] = {"ranked": ranked, "cases": len(content["cases"]), "tie": tie, "chosen": chosen}
    try:
        drawn = [_panels(run, name, mean, case) for name, (mean, case) in chosen.items()]
    except UserError as error:
        return Section.of(TITLE, f"{WORDS}/overlays", no_pictures=without_folders(error), **words)
    panels = max(len(case.panels) for case in drawn)
    with figure_style():  # a single panel is no wider than a phone can show
        figure = overlay_figure(drawn, min(WIDTH, HALF_WIDTH * panels))
    picture = Picture.of(
        "cases",
        figure,
        f"{WORDS}/overlay",
        drawing=False,
        outlines=outlines_in_words([panel for case in drawn for panel in case.panels]),
        sides=drawn[0].sides,
        names=", ".join(f"{name} {case['case']}" for name, (_, case) in chosen.items()),
    )
    return Section.of(TITLE, f"{WORDS}/overlays", pictures=[picture], no_pictures=None, **words)


def draw_overlays(run: ValidatedRun, content: Mapping[str, Any], path: Path) -> bool:
    """Draws the same three cases into a file; False where no case has a Dice."""
    ranked = ranked_cases(content["cases"])
    chosen = chosen_cases(ranked) if ranked else {}
    if drawn := [_panels(run, name, mean, case) for name, (mean, case) in chosen.items()]:
        draw_overlay(path, drawn, f"{run.layout.name}, fold {', '.join(map(str, run.folds))}: validation cases")
    return bool(drawn)


def ranked_cases(cases: Sequence[Mapping[str, Any]]) -> list[tuple[float, Mapping[str, Any]]]:
    """The cases that have a mean Dice, with it, the worst first."""
    ranked = []
    for case in cases:
        values = [scores["dice"] for scores in case["targets"].values() if scores["dice"] is not None]
        if values:
            ranked.append((float(np.mean(values)), case))
    return sorted(ranked, key=lambda pair: (pair[0], pair[1]["case"]))


def chosen_cases(ranked: Sequence[tuple[float, Mapping[str, Any]]]) -> dict[str, tuple[float, Mapping[str, Any]]]:
    """Best, median and worst; of fewer than three cases, what is there."""
    if len(ranked) == 1:
        return {"only case": ranked[0]}
    median = {"median": ranked[(len(ranked) - 1) // 2]} if len(ranked) > 2 else {}
    return {"best": ranked[-1], **median, "worst": ranked[0]}


def score_text(scores: Mapping[str, Any]) -> str:
    """Dice of a target, and its volumes where it has them."""
    dice = "Dice undefined" if scores["dice"] is None else f"Dice {scores['dice']:.3f}"
    if scores["volume_ml"] is None:
        return dice
    return f"{dice}\n{scores['volume_ml']:.1f} ml, predicted {scores['predicted_volume_ml']:.1f} ml"


def _panels(run: ValidatedRun, name: str, mean: float, case: Mapping[str, Any]) -> CasePanels:
    if run.layout.raw is None:
        raise UserError("nnUNet_raw", "not set, and the images are there", "a folder", "export nnUNet_raw=<folder>")
    file = f"{case['case']}{run.dataset_json['file_ending']}"
    images = CaseImages.read(
        run,
        channel_files(run.layout.raw / "imagesTr", case["case"], run.dataset_json),
        run.validation(case["fold"]) / file,
        run.reference(case["case"]),
    )
    panels = []
    for modality, channels in run.modalities.items():
        own = own_targets(run, modality) if run.lesion_labels else {}
        scores = "".join(f"\n{score_text(case['targets'][target])}" for target in own)
        panels.append(images.panel(f"{modality}{scores}", channels[0], own_targets(run, modality)))
    shared = "" if run.lesion_labels else _shared(case["targets"])
    title = f"{name}: {case['case']}, fold {case['fold']}, mean Dice {mean:.3f}{shared}"
    return CasePanels(title, panels, images.spacing, images.sides)


def _shared(targets: Mapping[str, Any]) -> str:
    lines = [f"{name}: {score_text(s)}".replace("\n", ", ") for name, s in list(targets.items())[:MOST_LINES]]
    if len(targets) > MOST_LINES:
        lines.append(f"and {counted(len(targets) - MOST_LINES, 'more target')}")
    return "".join(f"\n{line}" for line in lines)
