"""The trainers that nnU-Net finds by name: point nnUNet_extTrainer at this folder (`mgcl env` does it).

Imports only. nnU-Net imports every module of this folder by its bare name and forgets it afterwards, so the
classes live in `nnunet_mgcl`, where they can be pickled.
"""

from nnunet_mgcl.training.comparators import (
    BYOLTrainer,
    GCLTrainer,
    LCLPLTrainer,
    MixupTrainer,
    PositionalCLTrainer,
    SelfTrainingTrainer,
    SemiCLTrainer,
    SimCLRTrainer,
    SimSiamTrainer,
)
from nnunet_mgcl.training.variants import (
    MGCLTrainer,
    MGCLTrainerCoarse,
    MGCLTrainerMeanTeacher,
    MGCLTrainerRandomInit,
)

__all__ = [
    "BYOLTrainer",
    "GCLTrainer",
    "LCLPLTrainer",
    "MGCLTrainer",
    "MGCLTrainerCoarse",
    "MGCLTrainerMeanTeacher",
    "MGCLTrainerRandomInit",
    "MixupTrainer",
    "PositionalCLTrainer",
    "SelfTrainingTrainer",
    "SemiCLTrainer",
    "SimCLRTrainer",
    "SimSiamTrainer",
]
