"""The course of the phases before `segment`, and what `segment` starts from."""

from __future__ import annotations

from collections.abc import Sequence

from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.pretraining.handover import start_from
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.pretraining.shared import run_shared


def pretrain(phases: Sequence[Pretext], context: FoldContext) -> None:
    """Runs the phases one after the other; those that need no label see none, and one run of them serves all folds."""
    for number, phase in enumerate(phases):
        earlier = phases[:number]
        if not phase.label_free:
            phase.run(context, earlier)
            continue
        run = context.without_labels()
        if (seed := context.config.pretraining_seed) is not None:
            run.config = run.config.model_copy(update={"random_seed": seed})
        if all(other.label_free for other in earlier) and not run.joined:  # what has joined is the fold's
            run_shared(phase, run, earlier)
        phase.run(run, earlier)


def hand_over(phases: Sequence[Pretext], context: FoldContext) -> None:
    """Hands each branch of the network the parts that the phases have left, bit for bit.

    Segmentation layers are those of the last supervised phase that hands them on, else new. The training itself is
    nnU-Net's `run_training`, with its loaders, augmentation, deep supervision and validation.
    """
    for branch, unet in zip(context.branches, context.network.branches, strict=True):
        started_from = start_from(phases, unet, branch.name, context)
        context.log(f"segment {branch.name}: starts from {' and '.join(started_from) or 'He initialisation'}")
