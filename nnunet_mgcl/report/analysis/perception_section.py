"""What the encoders perceive, stage by stage, before and after training (the paper's Fig. 10)."""

from __future__ import annotations

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
from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.style import WIDTH, figure_style
from nnunet_mgcl.report.page.wording import grouped
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
    phase = fold.encoder_phase
    missing = [(why, branch.name) for branch in fold.branches if phase and (why := fold.why_not(branch, phase))]
    return Section.of(
        TITLE,
        "analysis/words/perception",
        pictures=[picture],
        fold=fold,
        phase=phase,
        measured=list(zip(fold.branches, scores, strict=True)),
        handed_over=len(missing) < len(fold.branches),
        left_out=grouped((why.split(": ", 1)[1], name) for why, name in missing),
        stages=_stage_names(max((len(row) for own in scores for rows in own.values() for row in rows), default=1)),
        RANDOM=RANDOM,
        TRAINED=TRAINED,
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


def _perceive(fold: TrainedFold, encoders: Sequence[dict[str, nn.Module]], case: FoldCase) -> tuple[Window, list[Maps]]:
    """The part of a case that the encoders read, and each branch's maps of it."""
    plan = fold.run.plan
    slices = np.flatnonzero(case.lesion.any(axis=(1, 2))).tolist() or [largest_slice(case.lesions)]
    window = Window.around(case.lesion, tuple(slices), tuple(plan.patch_size))
    return window, [
        {n: perception_maps(e, image, window, fold.is_3d, encoder_chunk(plan), fold.device) for n, e in own.items()}
        for own, image in zip(encoders, case.images, strict=True)
    ]


def _stage_names(stages: int) -> list[str]:
    return [f"stage {number}" for number in range(1, stages)] + ["last stage"]


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
    words = {"modalities": len(rows), "case": case, "fold": fold.fold, "describe_choice": describe_choice}
    return Picture.of("perception", figure, "analysis/words/perception_maps", drawing=False, **words)


def _normalised(plane: np.ndarray) -> np.ndarray:
    """From 0 to 1; a constant map becomes 0."""
    return (plane - plane.min()) / (np.ptp(plane) or 1)
