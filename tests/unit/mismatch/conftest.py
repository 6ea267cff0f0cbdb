"""A head of ellipsoids in FLAIR, in any pose and on any grid, with spherical lesions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

BRAIN, SCALP = 100.0, 160.0


def inside(points, centre, semi_axes):
    return (((points - np.asarray(centre)) / semi_axes) ** 2).sum(axis=-1) < 1


def draw_head(
    rotation=(0, 0, 0), shift=(0, 0, 0), lesions=(), *, shape=(24, 56, 56), spacing=(4.0, 4.0, 6.0), axes=None
):
    """Lesions are (x, y, z, radius, ratio) in the head's LPS frame; `axes` are the image's direction cosines.

    Has `flair`, the lesions' `mask` `(Z, Y, X)`, and of the true plane `normal` and `offset`.
    """
    turn = Rotation.from_euler("xyz", rotation, degrees=True)
    axes = np.eye(3) if axes is None else np.asarray(axes)
    size = np.asarray(shape[::-1])
    origin = -axes @ ((size - 1) / 2 * spacing)
    z, y, x = np.indices(shape)
    points = (np.stack([x, y, z], axis=-1) * spacing) @ axes.T + origin
    points = turn.inv().apply((points - np.asarray(shift)).reshape(-1, 3)).reshape(*shape, 3)
    values = np.zeros(shape)
    values[inside(points, (0, 0, 0), (78, 98, 85))] = SCALP
    values[inside(points, (0, 0, 0), (72, 92, 79))] = 0
    values[inside(points, (0, 0, 0), (67, 86, 74))] = BRAIN
    for side in (-1, 1):
        values[inside(points, (16 * side, 5, 8), (8, 32, 12))] = 0  # ventricles
    mask = np.zeros(shape, bool)
    for *centre, radius, ratio in lesions:
        lesion = inside(points, centre, (radius,) * 3) & (values > 0)
        values[lesion] *= ratio
        mask |= lesion
    values += np.random.default_rng(0).normal(0, 2, shape)
    flair = sitk.GetImageFromArray(values.astype(np.float32))
    flair.SetSpacing(spacing)
    flair.SetOrigin(origin.tolist())
    flair.SetDirection(axes.ravel().tolist())
    normal = turn.apply((1, 0, 0))
    return SimpleNamespace(flair=flair, mask=mask, normal=normal, offset=normal @ np.asarray(shift))


@pytest.fixture(scope="session")
def head():
    return draw_head
