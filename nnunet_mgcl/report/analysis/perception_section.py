"""What the encoders perceive, stage by stage, before and after training (the paper's Fig. 10)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from rich.progress import track
from torch import nn

from nnunet_mgcl.evaluation.measures.classification import auroc
from nnunet_mgcl.report.analysis.brain_panel import draw_map, draw_outline, draw_slice, explain_outline, name_sides
from nnunet_mgcl.report.analysis.fold_case import FoldCase, choose_case, describe_choice, largest_slice
from nnunet_mgcl.report.analysis.perception import Window, perception_maps
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold
from nnunet_mgcl.report.page.section import Picture, Section, Table
from nnunet_mgcl.report.page.style import WIDTH, figure_style
from nnunet_mgcl.tss.probability import encoder_chunk

TITLE = "What the encoders perceive"
RANDOM, TRAINED = "randomly initialised", "trained"
Maps = list[np.ndarray]
"""One map a stage."""


@dataclass(frozen=True)
class Perceived:
    """What the encoders make of one case.

    Attributes:
        case: The case.
        window: The part of it that they read.
        maps: Those of each branch, by the name of the network.
    """

    case: FoldCase
    window: Window
    maps: list[dict[str, Maps]]

    def aurocs(self, branch: int) -> dict[str, list[float]]:
        """Of each stage, by the name of the network; empty where the head is not part lesion and part not."""
        lesion, head = (self.window.cut(mask) for mask in (self.case.lesions[branch], self.case.head(branch)))
        if np.unique(lesion[head]).size < 2:
            return {}
        return {
            network: [auroc(own[head], lesion[head]) for own in stages] for network, stages in self.maps[branch].items()
        }


def perception_section(fold: TrainedFold) -> Section:
    """EigenCAM of a fold's encoders over one of its validation cases, and its agreement with the lesions of all."""
    encoders = _encoders(fold)
    chosen = choose_case(fold)
    scores: list[dict[str, list[list[float]]]] = [{name: [] for name in own} for own in encoders]
    for name in track(fold.cases, "Perception maps", transient=True):
        perceived = _perceive(fold, encoders, name)
        if name == chosen:
            picture = _picture(fold, perceived)
        for branch, own in enumerate(scores):
            for network, row in perceived.aurocs(branch).items():
                own[network].append(row)
    return Section(
        TITLE,
        (_method(fold), *_left_out(fold, scores)),
        (_table(fold, scores),) if any(own[TRAINED] for own in scores) else (),
        (picture,),
    )


def _encoders(fold: TrainedFold) -> list[dict[str, nn.Module]]:
    """Each branch's encoders: as initialised, as the last phase that trains encoders left it, and as `segment` did."""
    result = []
    for branch, trained in zip(fold.branches, fold.network.branches, strict=True):
        encoders = {RANDOM: fold.untrained(branch).encoder}
        if (phase := fold.encoder_phase) and not fold.why_not(branch, phase):
            encoders[f"after {phase.name}"] = fold.pretrained(branch, phase).encoder
        result.append(encoders | {TRAINED: trained.encoder})
    return result


def _perceive(fold: TrainedFold, encoders: Sequence[dict[str, nn.Module]], name: str) -> Perceived:
    case = FoldCase.load(fold, name)
    configuration = fold.run.plan
    slices = np.flatnonzero(case.lesion.any(axis=(1, 2))).tolist() or [largest_slice(case.lesions)]
    window = Window.around(case.lesion, tuple(slices), tuple(configuration.patch_size))
    chunk = encoder_chunk(configuration)
    maps = [
        {
            network: perception_maps(encoder, image, window, fold.is_3d, chunk, fold.device)
            for network, encoder in own.items()
        }
        for own, image in zip(encoders, case.images, strict=True)
    ]
    return Perceived(case, window, maps)


def _table(fold: TrainedFold, scores: Sequence[dict[str, list[list[float]]]]) -> Table:
    rows = []
    stages = max(len(row) for own in scores for rows in own.values() for row in rows)
    for branch, own in zip(fold.branches, scores, strict=True):
        for network, measured in own.items():
            cells = [_mean_and_sd([row[stage] for row in measured]) for stage in range(stages)]
            rows.append((f"{branch.name}, {network}", str(len(measured)), *cells))
    return Table(
        "AUROC of the perception map for the voxels of the lesion against the rest of the head, in the slices with a "
        f"lesion: mean ± standard deviation over the validation cases of fold {fold.fold} that have one (n). 0.5 is "
        "chance; below it, the lesion lies where the map is low.",
        ("encoder", "n", *_stage_names(stages)),
        tuple(rows),
    )


def _mean_and_sd(values: list[float]) -> str:
    if not values:
        return "undefined"
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def _stage_names(stages: int) -> list[str]:
    return [f"stage {number}" for number in range(1, stages)] + ["last stage"]


def _method(fold: TrainedFold) -> str:
    phase = fold.encoder_phase
    there = phase and any(not fold.why_not(branch, phase) for branch in fold.branches)
    return (
        "EigenCAM shows what the activations of an encoder's stage have most in common (their projection on the first "
        "singular vector). It looks at no label and no output: a map that agrees with the lesion says that the stage "
        "reacts to it most, not that the network decides by it. "
        f"“{TRAINED}” is the final network of fold {fold.fold}, “{RANDOM}” an encoder before any training"
        + (
            f", “after {phase.name}” the encoder that {phase.name} handed to the segmentation."
            if phase and there
            else "."
        )
    )


def _left_out(fold: TrainedFold, scores: Sequence[dict[str, list[list[float]]]]) -> list[str]:
    """Why a number is over fewer cases than the fold has, and why an encoder is not there."""
    lines = []
    for branch, own in zip(fold.branches, scores, strict=True):
        if without := len(fold.cases) - len(own[TRAINED]):
            lines.append(
                f"{branch.name}: {without} of {len(fold.cases)} validation cases have no lesion in this modality, or "
                "nothing but it, and so no AUROC."
            )
    reasons: dict[str, list[str]] = defaultdict(list)
    for branch in fold.branches:
        if (phase := fold.encoder_phase) and (why := fold.why_not(branch, phase)):
            reasons[why.split(": ", 1)[1]].append(branch.name)
    missing = f"No encoder “after {fold.encoder_phase.name}”" if fold.encoder_phase else ""
    return lines + [f"{missing} for {', '.join(names)}: {why}." for why, names in reasons.items()]


def _picture(fold: TrainedFold, perceived: Perceived) -> Picture:
    case, window = perceived.case, perceived.window
    turn, spacing = case.view.turn, case.view.turn_spacing(case.spacing)
    lesions = [turn(window.cut(lesion)) for lesion in case.lesions]
    at, aspect = largest_slice(lesions), spacing[1] / spacing[2]
    stages = _stage_names(len(perceived.maps[0][TRAINED]))
    titles = ["input", f"random\n{stages[-1]}", *(f"trained\n{stage}" for stage in stages)]
    scale = ScalarMappable(Normalize(0, 1), "magma")
    with figure_style():
        height = WIDTH / len(titles) * lesions[0].shape[1] / lesions[0].shape[2] * aspect
        figure = Figure(figsize=(WIDTH, height * len(lesions) + 1.2))
        figure.set_layout_engine("compressed")
        axes = figure.subplots(len(lesions), len(titles), squeeze=False)
        for branch, row in enumerate(axes):
            plane, own = turn(window.cut(case.images[branch][0]))[at], perceived.maps[branch]
            for axis, values in zip(row, [None, own[RANDOM][-1], *own[TRAINED]], strict=True):
                draw_slice(axis, plane, aspect)
                if values is not None:
                    draw_map(axis, _normalised(turn(values)[at]), scale, aspect)
                draw_outline(axis, lesions[branch][at])
            name_sides(row[0], case.view.sides)
            row[0].set_ylabel(fold.branches[branch].name)
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title, fontsize="small")
        label = "perception, each map from its lowest to its highest value"
        figure.colorbar(scale, ax=axes, location="bottom", shrink=0.5, aspect=40, label=label)
        explain_outline(figure, [lesion[at] for lesion in lesions])
    return Picture(
        "perception",
        figure,
        f"EigenCAM of the encoders' stages over a slice of each modality (its first channel), before and after "
        f"training. {describe_choice(case, fold.fold)}",
        f"Perception maps of {len(lesions)} modalities over a brain slice of case {case.name}, from the first stage of "
        "the encoder to the last; the table has their agreement with the lesion as numbers.",
        drawing=False,
    )


def _normalised(plane: np.ndarray) -> np.ndarray:
    """From 0 to 1; a constant map becomes 0."""
    low, high = float(plane.min()), float(plane.max())
    return (plane - low) / (high - low) if high > low else np.zeros_like(plane)
