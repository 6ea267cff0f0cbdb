"""What the encoders perceive, stage by stage, before and after training (the paper's Fig. 10)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from rich.progress import track
from torch import nn

from nnunet_mgcl.evaluation.measures.probability import auroc
from nnunet_mgcl.report.analysis.brain_grid import BrainPanel, brain_grid
from nnunet_mgcl.report.analysis.fold_case import FoldCase, choose_case, describe_choice, largest_slice
from nnunet_mgcl.report.analysis.perception import Window, perception_maps
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold
from nnunet_mgcl.report.page.section import Picture, Section, Table
from nnunet_mgcl.report.page.style import WIDTH, figure_style
from nnunet_mgcl.report.page.wording import mean_and_sd
from nnunet_mgcl.tss.phase import encoder_chunk

TITLE = "What the encoders perceive"
RANDOM, COARSE, TRAINED = "randomly initialised", "after coarse", "trained"


Maps = dict[str, list[np.ndarray]]
"""What a branch's encoders make of a case: one map a stage, by the name of the network."""


def perception_section(fold: TrainedFold) -> Section:
    """EigenCAM of a fold's encoders over one of its validation cases, and its agreement with the lesions of all."""
    encoders, chosen = _encoders(fold), choose_case(fold)
    scores: list[dict[str, list[list[float]]]] = [{name: [] for name in own} for own in encoders]
    for name in track(fold.cases, "Perception maps", transient=True):
        case = FoldCase.load(fold, name)
        window, maps = _perceive(fold, encoders, case)
        if name == chosen:
            picture = _picture(fold, case, window, maps)
        for branch, rows in enumerate(scores):
            lesion, head = window.cut(case.lesions[branch]), window.cut(case.head(branch))
            if np.unique(lesion[head]).size == 2:
                for network, stages in maps[branch].items():
                    rows[network].append([auroc(stage[head], lesion[head]) for stage in stages])
    tables = (_table(fold, scores),) if any(rows[TRAINED] for rows in scores) else ()
    return Section(TITLE, (_method(fold), *_left_out(fold, scores)), tables, (picture,))


def _encoders(fold: TrainedFold) -> list[dict[str, nn.Module]]:
    """Each branch's encoders: as initialised, as the last phase that trains encoders left it, and as `segment` did."""
    result = []
    for branch, trained in zip(fold.branches, fold.network.branches, strict=True):
        encoders = {RANDOM: fold.untrained(branch).encoder}
        if (phase := fold.encoder_phase) and not fold.why_not(branch, phase):
            encoders[f"after {phase.name}"] = fold.pretrained(branch, phase).encoder
        result.append(encoders | {TRAINED: trained.encoder})
    return result


def _perceive(fold: TrainedFold, encoders: Sequence[dict[str, nn.Module]], case: FoldCase) -> tuple[Window, list[Maps]]:
    """The part of a case that the encoders read, and each branch's maps of it."""
    plan = fold.run.plan
    slices = np.flatnonzero(case.lesion.any(axis=(1, 2))).tolist() or [largest_slice(case.lesions)]
    window = Window.around(case.lesion, tuple(slices), tuple(plan.patch_size))
    return window, [
        {n: perception_maps(e, image, window, fold.is_3d, encoder_chunk(plan), fold.device) for n, e in own.items()}
        for own, image in zip(encoders, case.images, strict=True)
    ]


def _table(fold: TrainedFold, scores: Sequence[dict[str, list[list[float]]]]) -> Table:
    stages = max(len(row) for encoders in scores for rows in encoders.values() for row in rows)
    rows = [
        (f"{branch.name}, {network}", str(len(measured)), *(mean_and_sd(s, 2) for s in _by_stage(measured, stages)))
        for branch, encoders in zip(fold.branches, scores, strict=True)
        for network, measured in encoders.items()
    ]
    return Table(
        "AUROC of the perception map for the voxels of the lesion against the rest of the head, in the slices with a "
        f"lesion: mean ± standard deviation over the validation cases of fold {fold.fold} that have one (n). 0.5 is "
        "chance; below it, the lesion lies where the map is low.",
        ("encoder", "n", *_stage_names(stages)),
        tuple(rows),
    )


def _by_stage(measured: list[list[float]], stages: int) -> np.ndarray:
    """Numbers `(cases, stages)` stage by stage, also where there is no case."""
    return np.reshape(measured, (-1, stages)).T


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
    lines = [
        f"{branch.name}: {len(fold.cases) - len(rows[TRAINED])} of {len(fold.cases)} validation cases have no lesion "
        "in this modality, or nothing but it, and so no AUROC."
        for branch, rows in zip(fold.branches, scores, strict=True)
        if len(rows[TRAINED]) < len(fold.cases)
    ]
    reasons: dict[str, list[str]] = defaultdict(list)
    for branch in fold.branches:
        if (phase := fold.encoder_phase) and (why := fold.why_not(branch, phase)):
            reasons[why.split(": ", 1)[1]].append(branch.name)
    missing = f"No encoder “after {fold.encoder_phase.name}”" if fold.encoder_phase else ""
    return lines + [f"{missing} for {', '.join(names)}: {why}." for why, names in reasons.items()]


def _picture(fold: TrainedFold, case: FoldCase, window: Window, perceived: Sequence[Maps]) -> Picture:
    def shown(array: np.ndarray) -> np.ndarray:
        """The wanted slices of what the window holds, as a person looks at them."""
        return case.view.turn(window.cut(array))

    lesions = [shown(lesion) for lesion in case.lesions]
    at = largest_slice(lesions)
    rows = {}
    for branch, image, lesion, maps in zip(fold.branches, case.images, lesions, perceived, strict=True):
        drawn = [_normalised(case.view.turn(values)[at]) for values in (maps[RANDOM][-1], *maps[TRAINED])]
        rows[branch.name] = [BrainPanel(shown(image[0])[at], lesion[at], values) for values in (None, *drawn)]
    stages = _stage_names(len(perceived[0][TRAINED]))
    with figure_style():
        figure, _, bar = brain_grid(
            rows,
            ["input", f"random\n{stages[-1]}", *(f"trained\n{stage}" for stage in stages)],
            case.view.turn_spacing(case.spacing)[1:],
            ScalarMappable(Normalize(0, 1), "magma"),
            case.view.sides,
            width=WIDTH,
        )
        bar.set_label("perception, each map from its lowest to its highest value")
    return Picture(
        "perception",
        figure,
        f"EigenCAM of the encoders' stages over a slice of each modality (its first channel), before and after "
        f"training. {describe_choice(case, fold.fold)}",
        f"Perception maps of {len(rows)} modalities over a brain slice of case {case.name}, from the first stage of "
        "the encoder to the last; the table has their agreement with the lesion as numbers.",
        drawing=False,
    )


def _normalised(plane: np.ndarray) -> np.ndarray:
    """From 0 to 1; a constant map becomes 0."""
    return (plane - plane.min()) / (np.ptp(plane) or 1)
