"""When a phase's result deserves a warning, and what helps. Each function returns None where all is well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor as round_down
from math import nan

import numpy as np

from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.training_warnings import TrainingWarning
from nnunet_mgcl.pretraining.monitor.lesion_counts import LesionCounts

FEW_POOL_CASES, MANY_TRAINING_CASES = 0.05, 0.5
"""Pseudo-labels are nearly empty where so few of them hold a lesion while so many training cases have one."""
SMALL, LARGE = 0.1, 10.0
"""Lesion voxels of an average pool case, as a multiple of those of a training case, that cannot be right."""
NEARLY_ALL, ENOUGH_CASES = 0.95, 10
"""A confidence selects nothing that lets so many pass, of at least so many pool cases."""
CHANCE_PROGRESS, CHANCE_GAIN = 0.1, 0.05
"""A contrast ends at chance below this share of the way and this gain in kNN balanced accuracy."""
NOTHING_TO_GAIN = 0.95
"""A kNN balanced accuracy that need not be above that of the start."""


def unlike_training(pool: LesionCounts, training: LesionCounts) -> str | None:
    """How pseudo-labels differ from the training cases' masks so far that they cannot be right, in words.

    Args:
        pool: Of the pseudo-labels.
        training: Of the true masks.
    """
    if pool.share < FEW_POOL_CASES and training.share > MANY_TRAINING_CASES:
        return (
            f"lesions in {pool.with_lesion} of {pool.cases} pool cases, while {training.with_lesion} of "
            f"{training.cases} training cases have one"
        )
    if training.voxels and not SMALL <= pool.voxels / training.voxels <= LARGE:
        return (
            f"{pool.voxels:.1f} lesion voxels in a pool case, while a training case has {training.voxels:.1f} "
            "(means over the cases)"
        )
    return None


def pseudo_label_warning(
    context: FoldContext, phase: str, source: str, branch: str, pool: LesionCounts, training: LesionCounts
) -> TrainingWarning | None:
    """Of pseudo-labels that are (nearly) empty or flooded; `source` is the phase whose network made them."""
    if not (found := unlike_training(pool, training)):
        return None
    epochs = context.config.block(source).epochs
    settings = {f"{source}.epochs": 2 * epochs}
    remedy = f"train its network longer: {context.memory.plan_command(settings, f'longer_{source}')}"
    return TrainingWarning(phase, branch, f"pseudo-labels like no training case: {found}", remedy)


def confidence_warning(
    context: FoldContext, phase: str, branch: str, confidences: Sequence[float | None]
) -> TrainingWarning | None:
    """Of a threshold that lets (nearly) all or none of the pool cases with a lesion pass.

    Args:
        context: The phase's context.
        phase: The phase that selects.
        branch: The branch.
        confidences: Of the pool cases; None without a lesion.
    """
    threshold, pool_cases = context.config.block("pseudo_label").confidence, len(confidences)
    known = [own for own in confidences if own is not None]
    passing = sum(own >= threshold for own in known)
    if not known or (passing and (passing < NEARLY_ALL * pool_cases or pool_cases < ENOUGH_CASES)):
        return None
    value = round_down(100 * float(np.quantile(known, 0.25 if passing else 0.5))) / 100
    command = context.memory.plan_command({"pseudo_label.confidence": value}, "confidence")
    which, share = ("nearly every", "three quarters") if passing else ("no", "half")
    return TrainingWarning(
        phase,
        branch,
        f"confidence {threshold:g} lets {passing} of {pool_cases} pool cases pass: it selects {which} case",
        f"a threshold that about {share} of the cases with a lesion reach: {command}",
    )


def fallback_warning(context: FoldContext, phase: str, branch: str, unusable: str, cases: str) -> TrainingWarning:
    """Of a branch that contrasts true masks because its pseudo-labels are of no use.

    Args:
        context: The phase's context.
        phase: The phase.
        branch: The branch.
        unusable: Why, in words.
        cases: What it contrasts, in words.
    """
    settings = {f"{name}.epochs": 2 * context.config.block(name).epochs for name in ("seed", "self_train")}
    return TrainingWarning(
        phase,
        branch,
        f"the pool's pseudo-labels are of no use ({unusable}), so it contrasts {cases}",
        f"train the networks that make them longer: {context.memory.plan_command(settings, 'longer')}",
    )


def one_class_warning(phase: str, branch: str, part: str) -> TrainingWarning:
    """Of a branch that has nothing to contrast, so that `part` of it stays as the phase began."""
    return TrainingWarning(
        phase,
        branch,
        f"skipped: even the true masks of the training cases hold a single class; {part} as the phase began",
        "check labelsTr, and label cases of the other class (lesions, or slices without one)",
    )


@dataclass(frozen=True)
class Outcome:
    """Where a contrastive phase stands.

    Attributes:
        loss: Of the last epoch, in the mean over its batches.
        chance: The same loss by chance.
        floor: The smallest that it can be.
        neighbours: kNN balanced accuracy before and after, where it was measured.
        untrained: That of an untrained network.
    """

    loss: float
    chance: float
    floor: float
    neighbours: tuple[float, float] | None
    untrained: float | None = None

    @property
    def progress(self) -> float | None:
        """How much of the way from chance (0) to floor (1) the loss has gone; None where there is no way."""
        return (self.chance - self.loss) / (self.chance - self.floor) if self.chance > self.floor else None


def contrast_warning(context: FoldContext, phase: str, branch: str, outcome: Outcome) -> TrainingWarning | None:
    """Of a contrastive phase that ends at chance, or that tells samples left out apart no better than before."""
    before, after = outcome.neighbours or (nan, nan)  # no comparison with nan is true
    untrained = before if outcome.untrained is None else outcome.untrained
    # A phase that starts from a trained network may well stay where it was, but for the error of some 100 samples.
    no_better = (after <= untrained or after <= before - CHANCE_GAIN) and after < NOTHING_TO_GAIN
    taught = outcome.loss != 0  # an exact zero: no batch held both classes
    at_chance = not taught or (outcome.progress is not None and outcome.progress < CHANCE_PROGRESS)
    if not (at_chance and not after - before >= CHANCE_GAIN) and not no_better:
        return None
    found = "no batch of its last epoch held both classes"
    if taught:
        found = f"loss {outcome.loss:.4f} where chance is {outcome.chance:.4f} and the floor {outcome.floor:.4f}"
    if outcome.neighbours:
        found += f", kNN {after:.2f}, at the start {before:.2f}"
    config = context.config.block(phase)
    settings = {f"{phase}.lr": f"{3 * config.lr:g}", f"{phase}.epochs": 2 * config.epochs}
    remedy = f"raise learning rate and epochs: {context.memory.plan_command(settings, phase)}"
    return TrainingWarning(phase, branch, f"contrast learned nothing that shows: {found}", remedy)
