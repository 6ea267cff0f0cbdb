"""The MNI152 template as tissue maps and head layers: what every synthetic head is a deformation of.

Grey matter, white matter and the T1 image are those that nilearn carries (ICBM 152, nonlinear, symmetric, 2009a;
Fonov et al., NeuroImage 47, S102, 2009). The T1 image is skull-stripped: skull and scalp are rules of distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter, label, zoom

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]

STEP_MM = 2.0
# Bigger than the gaps between the lobes and the cerebellum, which the scalp does not follow.
HULL_MM = 24.0
# Bridges the sulci, so that they are full of fluid.
SULCUS_MM = 5.0
# Where the lateral and the third ventricle are, (low, high) of x, y, z in mm: the same fluid goes on below into
# the cisterns and above into the fissure between the hemispheres, which do not widen with them.
VENTRICLES_MM = ((-42.0, 42.0), (-52.0, 38.0), (-14.0, 30.0))
_DEEP_MM = 18.0


@dataclass(frozen=True)
class Template:
    """Maps `(Z, Y, X)` at 2 mm; an index grows to the top, the front and the right of the head (RAS, as MNI).

    Attributes:
        grey: Grey matter's fraction of the voxel.
        white: White matter's.
        depth: Distance in mm from the brain's surface, sulci bridged; negative inside.
        hull: Distance in mm from the smooth surface around brain and cerebellum; negative inside.
        origin: `(z, y, x)` in mm of the first voxel's centre.
    """

    grey: FloatArray
    white: FloatArray
    depth: FloatArray
    hull: FloatArray
    origin: tuple[float, float, float]

    @property
    def brain(self) -> FloatArray:
        """Grey and white matter together."""
        return self.grey + self.white

    @cached_property
    def fluid(self) -> FloatArray:
        """Cerebrospinal fluid's fraction: what is neither, inside the skull."""
        return np.clip((self.depth < 1.0) - self.grey - self.white, 0.0, 1.0)

    @cached_property
    def ventricles(self) -> FloatArray:
        """The fluid of the lateral and the third ventricle."""
        x, y, z = self.coordinates()
        deep = (self.fluid > 0.3) & (self.depth < -_DEEP_MM)
        for mm, (low, high) in zip((x, y, z), VENTRICLES_MM, strict=True):
            deep &= (mm >= low) & (mm <= high)
        # The cistern behind the midbrain, between the two atria.
        deep &= ~((np.abs(x) < 12) & (y < -25) & (z < 8))
        parts, count = label(deep)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        large = np.flatnonzero(sizes * STEP_MM**3 > 500) + 1
        return np.where(np.isin(parts, large), self.fluid, 0.0).astype(np.float32)

    def coordinates(self) -> list[FloatArray]:
        """x, y and z in mm of every voxel, as arrays that broadcast to `(Z, Y, X)`."""
        axes = [o + STEP_MM * np.arange(n, dtype=np.float32) for o, n in zip(self.origin, self.grey.shape, strict=True)]
        z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
        return [x, y, z]

    def indices(self, mm: FloatArray) -> FloatArray:
        """Voxel indices `(3, ...)` in array order of points `(3, ...)` given as x, y, z in mm."""
        origin = np.asarray(self.origin, dtype=np.float32).reshape(3, *[1] * (mm.ndim - 1))
        return (mm[::-1] - origin) / np.float32(STEP_MM)


@cache
def load_template() -> Template:
    """Loads the template, once a process (about 3 s, most of them nilearn's import)."""
    from nilearn import datasets

    image = datasets.load_mni152_template(resolution=1)
    grey = _halved(_array(datasets.load_mni152_gm_template(resolution=1)))
    white = _halved(_array(datasets.load_mni152_wm_template(resolution=1)))
    mask = _halved((_array(image) > 0).astype(np.float32))
    # The first voxel of the halved map is the mean of the first two along each axis.
    x, y, z = (float(o) + 0.5 for o in image.affine[:3, 3])
    origin = (z, y, x)
    depth = gaussian_filter(_surface_distance(mask > 0.5, SULCUS_MM, STEP_MM), 0.7)
    # The hull is smooth: a coarser grid saves seconds.
    hull = _surface_distance(_halved(mask) > 0.5, HULL_MM, 2 * STEP_MM)
    hull = gaussian_filter(hull.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2), 3.0)
    return Template(grey, white, depth, hull, origin)


def smooth_noise(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> FloatArray:
    """Noise of mean 0 and standard deviation 1 whose structures are about `scale` voxels wide."""
    # Drawn on a coarser lattice where that loses nothing: the filter costs time.
    factor = max(1, int(scale / 1.5))
    coarse = [n // factor + 2 for n in shape]
    noise = gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), scale / factor, mode="wrap")
    if factor > 1:
        noise = zoom(noise, factor, order=1, prefilter=False)
    noise = noise[tuple(slice(n) for n in shape)]
    return (noise - noise.mean()) / noise.std()


def distance_mm(
    shape: tuple[int, ...], centre: npt.ArrayLike, stretch: FloatArray, dtype: npt.DTypeLike = np.float64
) -> FloatArray:
    """Distance in mm of every voxel `(Z, Y, X)` from a point, given in voxels, on axes that are stretched."""
    z, y, x = (
        ((np.arange(n) - c) * STEP_MM / factor).astype(dtype) ** 2
        for n, c, factor in zip(shape, np.asarray(centre), stretch, strict=True)
    )
    return np.sqrt(z[:, None, None] + y[:, None] + x)


def _array(image: Any) -> FloatArray:
    """An image's values `(Z, Y, X)`."""
    return np.asarray(image.dataobj, dtype=np.float32).T


def _halved(array: FloatArray) -> FloatArray:
    """The means of 2 x 2 x 2 voxels."""
    z, y, x = (n // 2 for n in array.shape)
    return array[: 2 * z, : 2 * y, : 2 * x].reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5))


def _surface_distance(inside: BoolArray, closing_mm: float, step_mm: float) -> FloatArray:
    """Signed distance in mm from the surface of a mask whose gaps up to twice `closing_mm` are closed."""
    margin = int(closing_mm / step_mm) + 2
    # The template ends below in the middle of the brain stem: there the head goes on.
    padded = np.pad(inside, margin, mode="edge")
    dilated = distance_transform_edt(~padded, sampling=step_mm) <= closing_mm
    padded = distance_transform_edt(dilated, sampling=step_mm) > closing_mm
    inwards = distance_transform_edt(padded, sampling=step_mm)
    outwards = distance_transform_edt(~padded, sampling=step_mm)
    distance = np.where(padded, step_mm / 2 - inwards, outwards - step_mm / 2)
    return distance[tuple(slice(margin, margin + n) for n in inside.shape)].astype(np.float32)
