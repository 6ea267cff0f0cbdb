"""The trainers that nnU-Net finds by name. Which phases run is a property of the class (ablations of Fig. 5-7)."""

from __future__ import annotations

from nnunet_mgcl.pretraining.mean_teacher import MeanTeacher
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

__all__ = ["MGCLTrainer", "MGCLTrainerCoarse", "MGCLTrainerMeanTeacher", "MGCLTrainerRandomInit"]


class MGCLTrainerRandomInit(MGCLTrainer):
    """No pretraining: segmentation from random initialisation, then the TSS head."""

    pretraining = ()


class MGCLTrainerCoarse(MGCLTrainer):
    """Coarse contrast only: decoders as `self_train` left them, or random ones without `warm_start`."""

    pretraining = MGCLTrainer.pretraining[:-1]


class MGCLTrainerMeanTeacher(MGCLTrainer):
    """Segmentation of labelled and pool cases at once, without contrast; then the TSS head. Not of the paper."""

    pretraining = ()
    in_segment = MeanTeacher()
