"""Hashes by which the same scan is found in two places, whatever the files are called and however they were written."""

from __future__ import annotations

import hashlib

import numpy as np


def voxel_hashes(data: np.ndarray) -> list[str]:
    """SHA-256 of shape and float32 values of each channel of an image `(C, ...)`."""
    hashes = []
    for channel in data:
        values = np.ascontiguousarray(channel, dtype=np.float32) + np.float32(0)  # -0 becomes 0, which equals it
        digest = hashlib.sha256(repr(values.shape).encode())
        digest.update(values.data)
        hashes.append(digest.hexdigest())
    return hashes
