"""Vascular territories as simple rules on the template's coordinates.

After the usual maps (Tatu et al., Neurology 50, 1699, 1998; Liu et al., Sci Data 10, 74, 2023), coarsened to a few
planes: the anterior cerebral artery feeds the medial strip of the hemisphere, the posterior one its back and the
inside of the temporal lobe, the middle one the convexity between them, and perforating arteries the basal ganglia,
the thalamus and the white matter beside the ventricles. Cerebellum and brain stem have no strokes here.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from nnunet_mgcl.phantom.brain.template import FloatArray, load_template

# The share of strokes, chosen so that the middle artery has about two thirds, as in hospital series.
SHARES = {"MCA": 0.66, "PCA": 0.12, "ACA": 0.07, "lacunar": 0.15}
TERRITORIES = tuple(SHARES)
# Half of the gap between the hemispheres, and the lowest layer of the cerebrum that strokes reach.
_MIDLINE_MM, _FLOOR_MM = 1.5, -30.0


@cache
def margin(territory: str) -> FloatArray:
    """How far in mm a voxel of the template lies inside a territory of either hemisphere; negative outside it.

    The "cerebrum" is the region that no stroke leaves.

    Border zones differ between people: add smooth noise of a few mm before comparing with 0.
    """
    x, y, z = np.broadcast_arrays(*load_template().coordinates())
    return _RULES[territory](np.abs(x), y, z).astype(np.float32)


def _cerebrum(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """One hemisphere, off the midline and above the tentorium, which falls off sideways behind the brain stem."""
    tentorium = np.where(y < -22, -4.0 - 0.42 * x, _FLOOR_MM)
    return np.minimum(x - _MIDLINE_MM, z - np.maximum(tentorium, _FLOOR_MM))


def _aca(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """A medial strip, wider in front, from the base of the frontal lobe over the corpus callosum to the precuneus."""
    strip = 18.0 + 0.08 * y - x
    behind = y + 52.0
    above = np.where(y > 32, z + 22.0, z - 20.0)
    return _all(strip, behind, above, _cerebrum(x, y, z))


def _pca(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """The occipital lobe, the inside of the temporal lobe and the thalamus."""
    occipital = _all(-56.0 - y - 0.35 * (x - 15), 30.0 - z)
    temporal = _all(38.0 - x, x - 14.0, -18.0 - y, -2.0 - z)
    return np.minimum(_any(occipital, temporal, _thalamus(x, y, z)), _cerebrum(x, y, z))


def _mca(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """The convexity, the insula and the lateral basal ganglia: what the others leave."""
    others = _any(_aca(x, y, z), _pca(x, y, z))
    return _all(-others, x - 15.0, 70.0 - z, _cerebrum(x, y, z))


def _lacunar(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Basal ganglia and internal capsule, thalamus, and the white matter beside and above the ventricle."""
    ganglia = _ellipsoid((x, y, z), centre=(21, 2, 6), semi_axes=(13, 22, 15))
    crown = _ellipsoid((x, y, z), centre=(25, -8, 27), semi_axes=(9, 30, 9))
    return np.minimum(_any(ganglia, crown, _thalamus(x, y, z)), _cerebrum(x, y, z))


def _thalamus(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    return _ellipsoid((x, y, z), centre=(11, -18, 8), semi_axes=(9, 12, 9))


def _ellipsoid(mm: tuple[FloatArray, ...], centre: tuple[int, ...], semi_axes: tuple[int, ...]) -> FloatArray:
    """About the distance in mm to the surface, positive inside."""
    offsets = (((x - c) / a) ** 2 for x, c, a in zip(mm, centre, semi_axes, strict=True))
    return min(semi_axes) * (1 - np.sqrt(sum(offsets)))


def _all(*margins: FloatArray) -> FloatArray:
    return np.minimum.reduce(margins)


def _any(*margins: FloatArray) -> FloatArray:
    return np.maximum.reduce(margins)


_RULES = {"ACA": _aca, "MCA": _mca, "PCA": _pca, "lacunar": _lacunar, "cerebrum": _cerebrum}
