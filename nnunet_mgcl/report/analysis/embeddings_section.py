"""The report's section on what contrast has learned: Fig. 8 and 9 of the paper, with a number."""

from __future__ import annotations

from collections.abc import Mapping

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
from nnunet_mgcl.report.page.section import Picture, Section, Table
from nnunet_mgcl.system.errors import counted

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
        return Section(TITLE, tuple(_sentence(reason) for reason in reasons))
    clouds: dict[Pretext, dict[str, Cloud]] = {}
    for phase, branch in track(wanted, "Embeddings", transient=True):
        clouds.setdefault(phase, {})[branch.name] = embed(fold, branch, phase)

    tables, pictures = [], []
    for phase, own in clouds.items():
        scores = _scores(own)
        reasons += _undefined(phase.name, own)
        tables.append(_table(fold, phase, own, scores))
        pictures.append(_picture(fold, phase, own, scores))
    text = (*_introduction(fold), *_sampled(clouds), *(_sentence(reason) for reason in reasons))
    return Section(TITLE, text, tuple(tables), tuple(pictures))


def _scores(clouds: Mapping[str, Cloud]) -> Scores:
    return {
        (name, stage): None
        if why_undefined(cloud.lesion, cloud.patients)
        else neighbour_accuracy(representations, cloud.lesion, cloud.patients)
        for name, cloud in clouds.items()
        for stage, representations in cloud.representations.items()
    }


def _undefined(phase: str, clouds: Mapping[str, Cloud]) -> list[str]:
    why = {name: why_undefined(cloud.lesion, cloud.patients) for name, cloud in clouds.items()}
    return [f"{name}: no kNN accuracy of {phase}, {reason}" for name, reason in why.items() if reason]


def _introduction(fold: TrainedFold) -> tuple[str, str]:
    chosen = sources(fold, fold.branches[0])
    size = " x ".join(map(str, fold.run.plan.patch_size))
    what = f"{len(chosen)} of {len(fold.cases)} validation cases of fold {fold.fold}"
    if not fold.is_3d:
        what += f", {counted(sum(len(slices) for _, slices in chosen), 'slice')}"
    depth = "over the depth of one position of the encoder's deepest map " if fold.is_3d else ""
    slices = "slab" if fold.is_3d else "slice"
    shown = " and ".join(f"{_unit(fold, phase)} ({phase.name})" for phase in fold.pictured)
    return (
        f"How the networks represent {shown} with and without lesion, before a phase, after it, and at the end of "
        "training. Before: the weights that the phase began with (an earlier phase's, or new ones). "
        f"Looked at are {what} (at most {MAX_VOLUMES if fold.is_3d else MAX_SLICES}, evenly spread), on which nothing "
        f"of this fold was trained, with their true masks, cut to {size} voxels around the middle and not augmented. "
        f"A {slices} {depth}has a lesion where any voxel is lesion; a patch where enough of it is. Samples that lie "
        "outside of the image are left out.",
        f"kNN: each sample is judged by the {NEIGHBOURS} samples of other patients that are nearest by angle. Balanced "
        "accuracy is the mean of sensitivity and specificity where a lesion is seen as soon as lesions are more "
        "frequent among the neighbours than at large. Accuracy is of the majority of the neighbours; always naming the "
        f"largest class would reach the share in that column. By chance: mean ± sd over {SHUFFLES} copies in which "
        "each sample has another one's representation, so that it tells neither lesion nor patient. With few samples "
        "of one class all of these are uncertain.",
    )


def _sampled(clouds: Mapping[Pretext, Mapping[str, Cloud]]) -> list[str]:
    """Says where samples were drawn."""
    lines = []
    for phase, own in clouds.items():
        for name, cloud in own.items():
            samples, lesions = cloud.available
            if samples > len(cloud.lesion):
                which = "all" if lesions == cloud.lesion.sum() else f"{cloud.lesion.sum()} of the"
                lines.append(
                    f"{name}: of {samples} samples of {phase.name}, {which} {lesions} with lesion were taken, and "
                    f"others at random up to {MAX_POINTS}."
                )
    return lines


def _table(fold: TrainedFold, phase: Pretext, clouds: Mapping[str, Cloud], scores: Scores) -> Table:
    rows = []
    for (name, stage), score in scores.items():
        lesion, patients = clouds[name].lesion, clouds[name].patients
        accuracies = _accuracies(score) if score else ("undefined",) * 4
        largest = f"{max(lesion.mean(), 1 - lesion.mean()):.2f}" if len(lesion) else "undefined"
        counts = (len(lesion), lesion.sum(), len(set(patients)))
        rows.append((name, stage, *accuracies, largest, *map(str, counts)))
    return Table(f"{phase.name.capitalize()}: {_unit(fold, phase)} among those of other patients", COLUMNS, tuple(rows))


def _accuracies(score: NeighbourAccuracy) -> tuple[str, ...]:
    own = ((score.balanced, score.balanced_by_chance), (score.plain, score.plain_by_chance))
    return tuple(text for value, (mean, sd) in own for text in (f"{value:.2f}", f"{mean:.2f} ± {sd:.2f}"))


NUMBER = (
    " The number is the kNN balanced accuracy of the representations, not of the picture; the table says what is "
    "reached by chance."
)


def _picture(fold: TrainedFold, phase: Pretext, clouds: Mapping[str, Cloud], scores: Scores) -> Picture:
    def heading(branch: str, stage: str) -> str:
        score = scores[branch, stage]
        return f"{branch}, kNN {score.balanced:.2f}" if score else branch

    unit, figure = _unit(fold, phase), f" ({phase.figure})" if phase.figure else ""
    defined = [f"{name} {stage} {score.balanced:.2f}" for (name, stage), score in scores.items() if score]
    return Picture(
        f"embeddings_{phase.name}",
        draw_clouds(clouds, heading, unit),
        f"t-SNE of {unit} of the validation cases of fold {fold.fold}{figure}. Each panel is laid "
        f"out by itself: its axes, and how far groups lie apart, mean nothing.{NUMBER if defined else ''}",
        f"Points of {unit} with and without lesion: {', '.join(clouds)}. kNN balanced accuracy: "
        f"{', '.join(defined) or 'undefined'}.",
    )


def _unit(fold: TrainedFold, phase: Pretext) -> str:
    return "slabs" if phase.unit == "slices" and fold.is_3d else str(phase.unit)


def _sentence(reason: str) -> str:
    return reason + "."
