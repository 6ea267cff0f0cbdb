"""Phase `segment`: what nnU-Net's own training loop starts from."""

from __future__ import annotations

import shutil

from nnunet_mgcl.engine.context import PhaseContext
from nnunet_mgcl.network.branch import load_decoder, load_encoder
from nnunet_mgcl.pretraining.warm_start import continue_from, handed_on


class Segment:
    """Hands `coarse`'s encoders and `fine`'s decoders to the network.

    Segmentation layers are `self_train`'s where `warm_start` has it so, else new.

    The training itself is nnU-Net's `run_training`, with its loaders, augmentation, deep supervision and
    validation; see `training/mgcl_trainer.py`.
    """

    name = "segment"

    def run(self, context: PhaseContext) -> None:
        """Loads what the earlier phases left, bit for bit."""
        forget_head(context)
        for branch, unet in zip(context.branches, context.network.branches, strict=True):
            started_from = ["self_train"] if continue_from("self_train", unet, branch.name, context) else []
            for phase, load in (("coarse", load_encoder), ("fine", load_decoder)):
                if context.state.is_done(phase, branch.name):
                    load(unet, handed_on(phase, branch.name, context.fold_layout))
                    if not context.state.is_skipped(phase, branch.name):
                        started_from.append(phase)
            context.log(f"{self.name} {branch.name}: starts from {' and '.join(started_from) or 'He initialisation'}")


def forget_head(context: PhaseContext) -> None:
    """Where `segment` trains (on), a head of an earlier run knows encoders that are lost with their checkpoint."""
    context.state.forget("tss")
    folder = context.fold_layout.phase("tss")
    if context.is_first_rank and folder.exists():
        shutil.rmtree(folder)
        context.log("tss: removed the head of an earlier run, whose encoders are lost")
