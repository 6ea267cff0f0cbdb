"""What a scan sees of a head: its voxel grid, and how the head lies in the scanner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from nnunet_mgcl.phantom.brain.template import FloatArray

FIELD_OF_VIEW_MM = 230.0
HEIGHT_MM = 126.0
LAYER_MM = 2.0


@dataclass(frozen=True)
class Grid:
    """A scan's voxel grid, centred on the field of view.

    Attributes:
        shape: `(Z, Y, X)` in voxels.
        spacing: `(z, y, x)` in mm.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @classmethod
    def covering(cls, matrix: int, slices: int) -> Grid:
        """The grid of `matrix` x `matrix` x `slices` voxels that holds the head: 1.8 x 1.8 x 7 mm at 128 and 18."""
        in_plane = FIELD_OF_VIEW_MM / matrix
        return cls((slices, matrix, matrix), (HEIGHT_MM / slices, in_plane, in_plane))

    @property
    def substeps(self) -> int:
        """How many thin layers a slice is sampled at, so that a thick slice is the mean of what is in it."""
        return max(1, int(np.ceil(self.spacing[0] / LAYER_MM - 1e-6)))

    @property
    def voxel_ml(self) -> float:
        """A voxel's volume."""
        return float(np.prod(self.spacing)) / 1000

    def thin(self) -> Grid:
        """The same field of view in `substeps` times as many layers."""
        z, y, x = self.shape
        return Grid((z * self.substeps, y, x), (self.spacing[0] / self.substeps, *self.spacing[1:]))

    def average(self, layers: FloatArray) -> FloatArray:
        """The slices `(Z, Y, X)` that the thin layers `(Z * substeps, Y, X)` make up."""
        return layers.reshape(self.shape[0], self.substeps, *self.shape[1:]).mean(axis=1)

    def axes(self) -> list[FloatArray]:
        """z, y and x in mm of the voxels' centres, in the scanner's frame."""
        pairs = zip(self.shape, self.spacing, strict=True)
        return [((np.arange(n) - (n - 1) / 2) * step).astype(np.float32) for n, step in pairs]


@dataclass(frozen=True)
class Pose:
    """How a head lies in one scan.

    Attributes:
        rotation: Degrees about the scanner's x, y and z axes (nodding, tilting, turning), in this order.
        shift: mm along x, y and z, after the rotation.
    """

    rotation: npt.ArrayLike
    shift: npt.ArrayLike

    def to_head(self, mm: FloatArray) -> FloatArray:
        """Where the points `(N, 3)` x, y, z of the scanner are in a head that lies straight."""
        rotation = Rotation.from_euler("xyz", self.rotation, degrees=True)
        return rotation.inv().apply(mm - np.asarray(self.shift))
