"""How well two scans fit: the mutual information of their voxels, in bits a voxel of the fixed one."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import map_coordinates
from scipy.special import rel_entr

from nnunet_mgcl.convert.registration.grid import Grid, affine
from nnunet_mgcl.data.images.head import head_mask

BINS = 32


class MutualInformation:
    """The measure of a pair of scans at any pose; the same for every engine, and its own judge.

    It looks at the fixed scan's head alone: air that meets air would count as agreement, and the more so the less of
    the head is in both scans' view. It takes one point in every voxel there, moved off the voxel's centre by chance
    (fixed seed): points on the centres would favour poses at which the voxels of both scans meet, where nothing is
    interpolated.

    A point outside the moving scan's view carries no information: the mutual information of the points inside is
    multiplied by their share of all. Otherwise a pose with a few voxels of overlap, which always seem to explain
    each other, would win.

    Args:
        fixed: 3D.
        moving: 3D.
    """

    def __init__(self, fixed: sitk.Image, moving: sitk.Image) -> None:
        grid = Grid.of(fixed)
        centres = np.argwhere(head_mask(fixed))[:, ::-1]
        index = centres + np.random.default_rng(0).uniform(-0.5, 0.5, centres.shape)
        self._points = grid.point(index)
        values = map_coordinates(_array(fixed), index.T[::-1], order=1, mode="nearest")
        self._fixed_bins = _bins(values, _array(fixed))
        self._moving, self._grid = _array(moving), Grid.of(moving)

    def __call__(self, transform: sitk.Transform, *, shuffled: bool = False) -> float:
        """The mutual information (bits, 0 or more) at a pose.

        Args:
            transform: Linear, from the fixed scan's space to the moving one's.
            shuffled: With the moving scan's voxels in random order: what scans without anything in common reach.
        """
        matrix, shift = affine(transform)
        index = self._grid.index(self._points @ matrix.T + shift)
        inside = np.all((index >= -0.5) & (index <= np.array(self._grid.size) - 0.5), axis=1)
        if not inside.any():
            return 0.0
        values = map_coordinates(self._moving, index[inside].T[::-1], order=1, mode="nearest")
        moving_bins = _bins(values, self._moving)
        if shuffled:
            moving_bins = np.random.default_rng(0).permutation(moving_bins)
        pairs = self._fixed_bins[inside] * BINS + moving_bins
        joint = np.bincount(pairs, minlength=BINS**2).reshape(BINS, BINS) / len(pairs)
        alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        return float(inside.mean() * rel_entr(joint, alone).sum() / np.log(2))


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image).astype(np.float32)


def _bins(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Numbers of equally wide bins between the image's extremes, which do not depend on the pose."""
    low, high = float(image.min()), float(image.max())
    return np.clip((values - low) / max(high - low, 1e-12) * BINS, 0, BINS - 1).astype(np.intp)
