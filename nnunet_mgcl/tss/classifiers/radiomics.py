"""Radiomic features of lesions, as IBSI defines them, computed by mirp (extra `radiomics`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.system.errors import UserError

SHAPE = ["morph"]
INTENSITY = ["statistics", "ih", "glcm", "rlm", "szm", "dzm", "ngtdm", "ngldm"]
BINS = 32
"""Grey levels of the histogram and of textures: a fixed number, since MR intensities have no unit (IBSI)."""
FEWEST_VOXELS = 8
"""Of smaller lesions there is no shape or texture to speak of; their features are missing."""


def radiomic_features(
    image: np.ndarray, masks: dict[str, np.ndarray], channels: dict[int, str], spacing: tuple[float, ...]
) -> dict[str, float]:
    """Features of each lesion: its shape, and its intensities and textures on every channel.

    Args:
        image: `(C, Z, Y, X)`.
        masks: Each lesion `(Z, Y, X)` bool.
        channels: Names of the channels.
        spacing: In mm, `(z, y, x)`.

    Returns:
        `<lesion>_<feature>` and `<lesion>_<channel>_<feature>`, and each lesion's number of voxels. A lesion of fewer
        than `FEWEST_VOXELS` voxels has no other.

    Raises:
        UserError: mirp is not installed.
    """
    features: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        files = {
            name: _write(Path(folder) / f"channel_{number}.nii", image[number], spacing)
            for number, name in channels.items()
        }
        for lesion, mask in masks.items():
            features[f"{lesion}_voxels"] = float(mask.sum())
            if mask.sum() < FEWEST_VOXELS:
                continue
            mask_file = _write(Path(folder) / "mask.nii", mask.astype(np.uint8), spacing)
            shape = _extract(next(iter(files.values())), mask_file, SHAPE)
            features |= {f"{lesion}_{name}": value for name, value in shape}
            for channel, file in files.items():
                own = _extract(file, mask_file, INTENSITY)
                features |= {f"{lesion}_{channel}_{name}": value for name, value in own}
    return features


def _extract(image: Path, mask: Path, families: list[str], **more: Any) -> Iterator[tuple[str, float]]:
    """Names and values of some families."""
    try:
        from mirp import extract_features
    except ImportError:
        remedy = "pip install 'nnunet_mgcl[radiomics]'"
        raise UserError("--method radiomics-svm", "no mirp", "the extra `radiomics`", remedy) from None
    logging.getLogger("mirp").setLevel(logging.ERROR)
    options: dict[str, Any] = {"base_discretisation_method": "fixed_bin_number", "base_discretisation_n_bins": BINS}
    table = extract_features(
        image=str(image), mask=str(mask), base_feature_families=families, **options | more
    )[0]  # fmt: skip
    row = table.iloc[0]
    for name in table.columns:
        if not name.startswith(("image_", "sample_")):
            yield name, float(row[name])


def _write(path: Path, voxels: np.ndarray, spacing: tuple[float, ...]) -> Path:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing[::-1])
    sitk.WriteImage(image, str(path))
    return path
