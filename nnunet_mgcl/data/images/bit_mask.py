"""Overlapping masks, one a modality, as one label map: modality m is bit m of the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt


def lesion_labels(modalities: Sequence[str]) -> dict[str, list[int]]:
    """The labels whose voxels are lesion in each modality: `{"DWI": [1, 3], "FLAIR": [2, 3]}`."""
    labels = range(2 ** len(modalities))
    return {modality: [label for label in labels if label >> bit & 1] for bit, modality in enumerate(modalities)}


def label_names(modalities: Sequence[str]) -> dict[str, int]:
    """`labels` of `dataset.json`: all 2^M combinations, such as `{"background": 0, "DWI": 1, ..., "DWI+FLAIR": 3}`."""
    members = lesion_labels(modalities)
    names = ("+".join(m for m in modalities if label in members[m]) for label in range(2 ** len(modalities)))
    return {name or "background": label for label, name in enumerate(names)}


def encode(masks: Mapping[str, npt.NDArray[np.bool_]], modalities: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Joins one boolean mask `(Z, Y, X)` a modality to a label map of the same shape."""
    bits = [masks[modality].astype(np.uint8) << bit for bit, modality in enumerate(modalities)]
    return np.bitwise_or.reduce(bits)
