"""The report's section on what contrast has learned: Fig. 8 and 9 of the paper, with a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.progress import track

from nnunet_mgcl.pretraining.monitor.neighbours import (
    NEIGHBOURS,
    SHUFFLES,
    NeighbourAccuracy,
    neighbour_accuracy,
    why_undefined,
)
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.report.analysis.embeddings import MAX_POINTS, MAX_SLICES, MAX_VOLUMES, Cloud, embed, sources
from nnunet_mgcl.report.analysis.embeddings_figure import draw_clouds
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold
from nnunet_mgcl.report.page.section import Picture, Section

WORDS = "analysis/words"
TITLE = "What contrast has learned"
COLUMNS = (
    "modality", "stage", "kNN balanced accuracy", "by chance", "kNN accuracy", "by chance", "largest class", "samples",
    "with lesion", "patients",
)  # fmt: skip

Scores = Mapping[tuple[str, str], NeighbourAccuracy | None]
"""By branch and stage; None where it is undefined."""


def embeddings_section(fold: TrainedFold) -> Section:
    """Shows the samples of each phase as the networks represent them before and after it.

    Args:
        fold: The trained fold; its validation cases are looked at.
    """
    jobs = [(phase, branch) for phase in fold.pictured for branch in fold.branches]
    reasons = list(dict.fromkeys(reason for phase, branch in jobs if (reason := fold.why_not(branch, phase))))
    wanted = [(phase, branch) for phase, branch in jobs if not fold.why_not(branch, phase)]
    if not fold.pictured:
        reasons = ["this trainer has no phase before segment of which samples could be shown"]
    if not wanted:
        return Section.of(TITLE, f"{WORDS}/missing", reasons=reasons)
    clouds: dict[Pretext, dict[str, Cloud]] = {}
    for phase, branch in track(wanted, "Embeddings", transient=True):
        clouds.setdefault(phase, {})[branch.name] = embed(fold, branch, phase)
    undefined = {
        phase: {name: why_undefined(cloud.lesion, cloud.patients) for name, cloud in own.items()}
        for phase, own in clouds.items()
    }
    scores = {phase: _scores(own, undefined[phase]) for phase, own in clouds.items()}
    return Section.of(
        TITLE,
        f"{WORDS}/embeddings",
        pictures=[_picture(fold, phase, own, scores[phase]) for phase, own in clouds.items()],
        fold=fold,
        chosen=sources(fold, fold.branches[0]),
        clouds=clouds,
        scores=scores,
        reasons=reasons,
        undefined=undefined,
        unit=_unit,
        COLUMNS=COLUMNS,
        NEIGHBOURS=NEIGHBOURS,
        SHUFFLES=SHUFFLES,
        MAX_POINTS=MAX_POINTS,
        MAX_SLICES=MAX_SLICES,
        MAX_VOLUMES=MAX_VOLUMES,
    )


def _scores(clouds: Mapping[str, Cloud], undefined: Mapping[str, str | None]) -> Scores:
    return {
        (name, stage): None if undefined[name] else neighbour_accuracy(representations, cloud.lesion, cloud.patients)
        for name, cloud in clouds.items()
        for stage, representations in cloud.representations.items()
    }


def _picture(fold: TrainedFold, phase: Pretext, clouds: Mapping[str, Cloud], scores: Scores) -> Picture:
    def heading(branch: str, stage: str) -> str:
        score = scores[branch, stage]
        return f"{branch}, kNN {score.balanced:.2f}" if score else branch

    unit = _unit(fold, phase)
    words: dict[str, Any] = {"fold": fold, "phase": phase, "scores": scores, "modalities": clouds}
    figure = draw_clouds(clouds, heading, unit)
    return Picture.of(f"embeddings_{phase.name}", figure, f"{WORDS}/clouds", unit=unit, **words)


def _unit(fold: TrainedFold, phase: Pretext) -> str:
    return "slabs" if phase.unit == "slices" and fold.is_3d else str(phase.unit)
