"""Trainers of the methods that MGCL is compared with: nnU-Net, started from what each of them has learned."""

from __future__ import annotations

from nnunet_mgcl.pretraining.comparators.byol import BYOL
from nnunet_mgcl.pretraining.comparators.gcl import GCLGlobal, GCLLocal
from nnunet_mgcl.pretraining.comparators.lclpl import LCLPL
from nnunet_mgcl.pretraining.comparators.mixup import Mixup
from nnunet_mgcl.pretraining.comparators.positional import PositionalCL
from nnunet_mgcl.pretraining.comparators.semi_cl import SemiCL
from nnunet_mgcl.pretraining.comparators.simclr import SimCLR
from nnunet_mgcl.pretraining.comparators.simsiam import SimSiam
from nnunet_mgcl.pretraining.pseudo_label import PseudoLabel
from nnunet_mgcl.pretraining.self_train import SelfTrain
from nnunet_mgcl.pretraining.teacher import Teacher
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


class SimCLRTrainer(MGCLTrainer):
    """Two views of a crop among all others (Chen et al., 2020)."""

    pretraining = (SimCLR(),)


class BYOLTrainer(MGCLTrainer):
    """An averaged teacher, no negatives (Grill et al., 2020)."""

    pretraining = (BYOL(),)


class SimSiamTrainer(MGCLTrainer):
    """A stopped gradient, no negatives (Chen and He, 2021)."""

    pretraining = (SimSiam(),)


class PositionalCLTrainer(MGCLTrainer):
    """Slices at nearby positions of any volume (Zeng et al., 2021)."""

    pretraining = (PositionalCL(),)


class GCLTrainer(MGCLTrainer):
    """Partitions of the volume, then regions of the decoder's map (Chaitanya et al., 2020)."""

    pretraining = (GCLGlobal(), GCLLocal())


class SemiCLTrainer(MGCLTrainer):
    """SimCLR, then contrast of labelled pixels (Hu et al., 2021)."""

    pretraining = (SimCLR(), SemiCL())


class SelfTrainingTrainer(MGCLTrainer):
    """The teacher and one round of self-training: what MGCL's contrast must beat to earn its place."""

    pretraining = (Teacher(), PseudoLabel(1, source="seed"), SelfTrain())


class MixupTrainer(MGCLTrainer):
    """Self-training on mixed images (Zhang et al., 2018)."""

    pretraining = (Teacher(), PseudoLabel(1, source="seed"), Mixup())


class LCLPLTrainer(MGCLTrainer):
    """Segmentation with local contrast from pseudo-labels, which are made three times (Chaitanya et al., 2023)."""

    pretraining = (
        Teacher(),
        PseudoLabel(1, source="seed"),
        LCLPL(1),
        PseudoLabel(2, source="lclpl_1"),
        LCLPL(2),
        PseudoLabel(3, source="lclpl_2"),
        LCLPL(3),
    )
