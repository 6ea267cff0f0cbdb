"""What the phases minimise, and the labels they contrast."""

from nnunet_mgcl.losses.contrast_bounds import contrast_chance, contrast_floor
from nnunet_mgcl.losses.focal import tss_focal_loss
from nnunet_mgcl.losses.modality_loss import ModalityDiceBCELoss
from nnunet_mgcl.losses.patch_labels import IGNORE_INDEX, patch_labels, slab_labels, slice_labels, thin_negatives
from nnunet_mgcl.losses.supcon import supcon_loss

__all__ = [
    "IGNORE_INDEX",
    "ModalityDiceBCELoss",
    "contrast_chance",
    "contrast_floor",
    "patch_labels",
    "slab_labels",
    "slice_labels",
    "supcon_loss",
    "thin_negatives",
    "tss_focal_loss",
]
