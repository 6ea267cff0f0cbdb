"""Opens a case that nnU-Net has preprocessed, labelled or of the pool, so that damage is found before training."""

from __future__ import annotations

from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnunet_mgcl.system.safe_loading import load_case


def open_case(images: nnUNetBaseDataset, case: str) -> tuple[Any, dict[str, Any]]:
    """The image `(C, Z, Y, X)`, of which no voxel is read, and the properties of a case.

    Raises:
        Exception: A file is missing or truncated, or the image and its mask differ in shape; of blosc2, NumPy, pickle
            or the operating system.
    """
    data, seg, _, properties = load_case(images, case)
    if data.shape[1:] != seg.shape[1:]:
        raise ValueError(f"an image of shape {tuple(data.shape)} and a mask of shape {tuple(seg.shape)}")
    return data, properties
