"""One picture a case in which a person sees within seconds whether the channels fit each other and the mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from nnunet_mgcl.convert.registration.grid import same_grid
from nnunet_mgcl.pictures.grey_window import grey_window, tissue
from nnunet_mgcl.pictures.slices import draw_outline, draw_slice, fullest_slice, name_sides, profile
from nnunet_mgcl.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MASK_COLOURS = ("#ff6a00", "#56b4e9", "#00c79a", "#cc79a7")
"""Orange, sky blue, green, pink (after Okabe and Ito): told apart by colour-blind people, visible on grey."""
EDGE_COLOUR = "#f0e442"
EDGE_BLUR_MM = 1.5
EDGE_LEVEL = 0.65
"""Share of the tissue's median at which the edges lie: between tissue and what is darker, air or fluid."""
MARGIN_MM = 15
"""Around the reference's head; what is beyond is not shown."""
PANEL_INCHES, DPI = 2.7, 110
LEVELS = (0.3, 0.65)
"""Heights in the head (0 = lowest slice) at which an axial slice is shown besides that of the lesion."""


@dataclass(frozen=True)
class Plane:
    """One way to cut a volume whose axes go to the patient's left, back and top.

    Attributes:
        name: What a radiologist calls it.
        axis: Of the array `(Z, Y, X)`; cut through.
        sides: What is left and right in the picture.
    """

    name: str
    axis: int
    sides: tuple[str, str]

    def cut(self, volume: np.ndarray, at: int) -> np.ndarray:
        """The slice, its first row on top: the patient's front or top; their right side is left."""
        plane = volume.take(at, self.axis)
        return plane if self.axis == 0 else plane[::-1]

    @property
    def others(self) -> tuple[int, int]:
        """The axes of the array down and across the picture."""
        down, across = (axis for axis in range(3) if axis != self.axis)
        return down, across


AXIAL, CORONAL, SAGITTAL = (
    Plane("axial", 0, ("R", "L")),
    Plane("coronal", 1, ("R", "L")),
    Plane("sagittal", 2, ("A", "P")),
)


@dataclass(frozen=True)
class View:
    """A channel as it is drawn: axes x, y, z to the patient's left, back and top.

    Attributes:
        values: `(Z, Y, X)`.
        spacing: mm along these axes of the array.
        masks: `(Z, Y, X)` bool, outlined on it, in the order of the colours.
        edges: `(Z, Y, X)` values of the reference, whose edges are drawn; None: none are.
        head: `(Z, Y, X)` bool: the bright voxels of the reference, or of the channel itself on a grid of its own.
    """

    values: np.ndarray
    spacing: tuple[float, ...]
    masks: tuple[np.ndarray, ...]
    edges: np.ndarray | None
    head: np.ndarray

    def cuts(self) -> tuple[tuple[Plane, int], ...]:
        """The slices with most lesion or, without one, through the middle; and another axial one."""
        fullest = [fullest_slice(self.masks, axis) for axis in range(3)]
        at = [_level(self.head, axis, 0.5) if place is None else place for axis, place in enumerate(fullest)]
        other = max((_level(self.head, 0, level) for level in LEVELS), key=lambda z: abs(z - at[0]))
        return (AXIAL, at[0]), (AXIAL, other), (CORONAL, at[1]), (SAGITTAL, at[2])

    def frame(self, axis: int) -> tuple[float, float]:
        """The part of an axis (mm from the volume's edge) that the head takes up, with the margin."""
        low, high = (_level(self.head, axis, level) * self.spacing[axis] for level in (0, 1))
        return max(low - MARGIN_MM, 0), min(high + MARGIN_MM, self.values.shape[axis] * self.spacing[axis])


def draw_case(
    path: Path, images: dict[str, sitk.Image], masks: dict[str, sitk.Image], *, reference: str | None, title: str
) -> None:
    """Draws a column a channel: two axial slices, one of them that with most lesion, a coronal and a sagittal one.

    The masks are outlined. The edges of the reference's head are drawn over the other channels: where they miss the
    edges there, the registration is bad. A channel on a grid of its own is cut through its own middle, and gets no
    outlines.

    Args:
        path: PNG.
        images: Channel -> image, 3D, stored in any orientation.
        masks: Modality ("" = all) -> label image; may be empty.
        reference: The channel with the edges; None: the first one.
        title: Above all.
    """
    from matplotlib import rc_context

    from nnunet_mgcl.pictures.image_figure import image_figure

    reference = reference or next(iter(images))
    views = _views(images, masks, reference)
    heights = _heights(list(views.values()))
    with rc_context({"text.parse_math": False}):  # a $ in a name is a $
        figure = image_figure(PANEL_INCHES * len(views), PANEL_INCHES * sum(heights) + 0.9)
        axes = figure.subplots(len(heights), len(views), squeeze=False, gridspec_kw={"height_ratios": heights})
        for column, (channel, view) in zip(axes.T, views.items(), strict=True):
            window = grey_window(view.values)
            for axis, (plane, at) in zip(column, view.cuts(), strict=True):
                _draw_panel(axis, view, plane, at, window)
            column[0].set_title(channel, fontsize=10, fontweight="bold")
        figure.suptitle(title, fontsize=11)
        if handles := list(_legend(list(views.values()), masks, reference)):
            figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8)
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DPI)


def _views(images: dict[str, sitk.Image], masks: dict[str, sitk.Image], reference: str) -> dict[str, View]:
    # Voxels are reordered, not interpolated: x, y, z become those axes closest to the patient's left, back and top.
    upright = {channel: sitk.DICOMOrient(image, "LPS") for channel, image in images.items()}
    outlined = [sitk.DICOMOrient(mask, "LPS") for mask in masks.values()]
    values = {channel: sitk.GetArrayFromImage(image).astype(np.float32) for channel, image in upright.items()}
    views = {}
    for channel, image in upright.items():
        shared = same_grid(upright[reference], image)
        anchor = values[reference if shared else channel]
        views[channel] = View(
            values[channel],
            image.GetSpacing()[::-1],
            tuple(_mask(mask, image) for mask in outlined),
            anchor if shared and channel != reference else None,
            tissue(anchor),
        )
    return views


def _mask(mask: sitk.Image, image: sitk.Image) -> np.ndarray:
    """Nothing where the channel has a grid of its own."""
    return sitk.GetArrayFromImage(mask if same_grid(mask, image) else sitk.Image(image.GetSize(), sitk.sitkUInt8)) > 0


def _level(head: np.ndarray, axis: int, level: float) -> int:
    """The slice at a share of the head's extent, slices with little of it not counted."""
    voxels = profile(head, axis)
    where = np.flatnonzero(voxels > 0.05 * voxels.max())
    return int(where[round(level * (len(where) - 1))]) if len(where) else round(level * (len(voxels) - 1))


def _heights(views: list[View]) -> list[float]:
    """Of the rows, as shares of a panel's width."""
    heights = []
    for row in range(len(views[0].cuts())):
        sides = [[np.ptp(view.frame(axis)) for axis in view.cuts()[row][0].others] for view in views]
        heights.append(float(max(rows / columns for rows, columns in sides)))
    return heights


def _draw_panel(axis: Axes, view: View, plane: Plane, at: int, window: tuple[float, float]) -> None:
    size = [view.spacing[other] for other in plane.others]
    picture = plane.cut(view.values, at)
    draw_slice(axis, picture, size, vmin=window[0], vmax=window[1], interpolation="bilinear")
    if view.edges is not None and view.head.any():
        values = gaussian_filter(plane.cut(view.edges, at), EDGE_BLUR_MM / np.array(size))
        level = EDGE_LEVEL * float(np.median(view.edges[view.head]))
        draw_outline(axis, values, size, EDGE_COLOUR, level=level, linewidths=0.6)
    for mask, colour in zip(view.masks, MASK_COLOURS, strict=False):
        draw_outline(axis, plane.cut(mask, at), size, colour, linewidths=1.3)
    name_sides(axis, plane.sides, fontsize=9)
    axis.text(0.02, 0.02, plane.name, transform=axis.transAxes, color="white", fontsize=7, va="bottom")
    vertical, horizontal = (view.frame(other) for other in plane.others)
    height = len(picture) * size[0]
    low, high = vertical if plane is AXIAL else (height - vertical[1], height - vertical[0])
    axis.set(xlim=horizontal, ylim=(high, low), facecolor="black")


def _legend(views: list[View], masks: dict[str, sitk.Image], reference: str) -> Iterator[object]:
    from matplotlib.lines import Line2D

    for modality, colour in zip(masks, MASK_COLOURS, strict=False):
        yield Line2D([], [], color=colour, label=f"mask {modality}" if modality else "mask")
    if any(view.edges is not None for view in views):
        yield Line2D([], [], color=EDGE_COLOUR, linewidth=1, label=f"edges of {reference}, drawn over the others")
