"""What lies in the scanner: how much of every voxel is which tissue, and where the stroke is; and its outlines.

Arrays are `(Z, Y, X)` unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnunet_mgcl.phantom.brain.anatomy import Anatomy
from nnunet_mgcl.phantom.brain.scan import Grid
from nnunet_mgcl.phantom.brain.template import BoolArray, FloatArray
from nnunet_mgcl.phantom.stroke.clock import TissueClock, flair_ratio
from nnunet_mgcl.phantom.stroke.distractors import DistractorMaps
from nnunet_mgcl.phantom.stroke.growth import StrokeMaps, outline


@dataclass(frozen=True)
class Scene:
    """A head, its old damage and its stroke, on a scan's grid.

    Attributes:
        grid: The scan's grid.
        scalp: Share of the voxel, like the other tissues.
        fluid: Cerebrospinal fluid and old cavities.
        grey: Grey matter.
        white: Normal white matter.
        wmh: Hyperintense tissue: gliosis of white matter and around old cavities.
        template_mm: x, y, z in the template, `(3, Z, Y, X)`.
        stroke: The stroke, None where there is none.
    """

    grid: Grid
    scalp: FloatArray
    fluid: FloatArray
    grey: FloatArray
    white: FloatArray
    wmh: FloatArray
    template_mm: FloatArray
    stroke: Ischaemia | None

    @property
    def brain(self) -> FloatArray:
        """Grey and white matter."""
        return self.grey + self.white + self.wmh

    def per_voxel(self, of_samples: FloatArray) -> FloatArray:
        """The mean of every voxel `(Z, Y, X)` of something that only the stroke's samples `(N,)` have."""
        assert self.stroke is not None
        sums = np.bincount(self.stroke.voxel, weights=of_samples, minlength=self.grey.size)
        return (sums / self.grid.substeps).reshape(self.grid.shape).astype(np.float32)


@dataclass(frozen=True)
class Ischaemia:
    """The stroke in a scan, on those samples of the thin layers that it reaches.

    Attributes:
        clock: What time has made of it.
        voxel: Flat index `(N,)` of the voxel that a sample belongs to.
        core: Share `(N,)` of the sample that is core.
        depth: How far T2 has risen there `(N,)`, 1 where the core is oldest.
        grey: Grey matter's share `(N,)` of the core; the rest is white.
        core_share: Core, as a share of every voxel.
        deficit_share: The same for the perfusion deficit.
    """

    clock: TissueClock
    voxel: npt.NDArray[np.intp]
    core: FloatArray
    depth: FloatArray
    grey: FloatArray
    core_share: FloatArray
    deficit_share: FloatArray


def set_scene(
    anatomy: Anatomy,
    distractors: DistractorMaps | None = None,
    stroke: StrokeMaps | None = None,
    clock: TissueClock | None = None,
) -> Scene:
    """Puts a head into the scanner, with its old damage and, where a clock is given, its stroke."""
    grid, brain = anatomy.grid, np.maximum(anatomy.brain, 1e-6)
    cavity, wmh = (np.zeros_like(brain),) * 2 if distractors is None else (distractors.chronic, distractors.wmh)
    left = 1 - np.minimum(cavity / brain, 1)
    healthy = np.maximum(left - wmh / brain, 0)
    grey, white = anatomy.grey * healthy, anatomy.white * healthy
    return Scene(
        grid=grid,
        scalp=grid.average(anatomy.scalp),
        fluid=grid.average(anatomy.fluid + brain * (1 - left)),
        grey=grid.average(grey),
        white=grid.average(white),
        wmh=grid.average(brain * left - grey - white),
        template_mm=anatomy.template_mm[:, grid.substeps // 2 :: grid.substeps],
        stroke=None if stroke is None or clock is None else _ischaemia(anatomy, stroke, clock),
    )


def _ischaemia(anatomy: Anatomy, stroke: StrokeMaps, clock: TissueClock) -> Ischaemia:
    """The stroke's samples; no old cavity is near it."""
    grid = anatomy.grid
    samples = np.flatnonzero(stroke.core > 0.01)
    in_slice = grid.shape[1] * grid.shape[2]
    # Half of a core's volume died in about the first quarter of its time, since its growth slows down.
    depth = np.sqrt(stroke.age.ravel()[samples])
    return Ischaemia(
        clock=clock,
        voxel=samples // in_slice // grid.substeps * in_slice + samples % in_slice,
        core=stroke.core.ravel()[samples],
        depth=depth / max(float(depth.max(initial=0.0)), 1e-6),
        grey=anatomy.grey.ravel()[samples] / anatomy.brain.ravel()[samples],
        core_share=grid.average(stroke.core),
        deficit_share=grid.average(stroke.deficit),
    )


def draw_masks(scene: Scene) -> dict[str, BoolArray]:
    """What readers outline: the core in DWI, its visible part in FLAIR, the deficit in PWI; empty without a stroke.

    FLAIR's mask is not empty if and only if the reader sees the lesion.
    """
    stroke = scene.stroke
    if stroke is None:
        return {modality: np.zeros(scene.grid.shape, dtype=bool) for modality in ("DWI", "FLAIR", "PWI")}
    core = outline(stroke.core_share)
    return {"DWI": core, "FLAIR": _visible_part(scene, stroke, core), "PWI": core | outline(stroke.deficit_share)}


def _visible_part(scene: Scene, stroke: Ischaemia, core: BoolArray) -> BoolArray:
    if not stroke.clock.flair_visible:
        return np.zeros_like(core)
    depth = np.where(core, scene.per_voxel(stroke.core * stroke.depth) / np.maximum(stroke.core_share, 1e-6), 0.0)
    # A thick slice need not reach the depth of the centre, which the reader sees: it is its deepest voxel then.
    depth = depth.astype(np.float64) / max(float(depth.max()), 1e-6)
    return core & (flair_ratio(stroke.clock.t2_rise * depth) > stroke.clock.visible_ratio)
