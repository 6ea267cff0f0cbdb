"""Opens a case that nnU-Net has preprocessed, labelled or of the pool, so that damage is found before training."""

from __future__ import annotations

from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.safe_loading import load_case


def open_case(images: nnUNetBaseDataset, case: str) -> tuple[Any, dict[str, Any]]:
    """The image `(C, Z, Y, X)`, of which no voxel is read, and the properties of a case.

    Raises:
        DamagedError: A file is missing or truncated, or the image and its mask differ in shape.
        UserError: It holds something that would be run.
    """
    try:
        data, seg, _, properties = load_case(images, case)
        shapes = tuple(data.shape), tuple(seg.shape)
    except UserError:
        raise
    except Exception as error:  # blosc2's, NumPy's, pickle's and the operating system's
        raise DamagedError(str(error) or type(error).__name__) from None
    if shapes[0][1:] != shapes[1][1:]:
        raise DamagedError(f"an image of shape {shapes[0]} and a mask of shape {shapes[1]}")
    return data, properties


class DamagedError(Exception):
    """A preprocessed case that cannot be read; its text says why."""
