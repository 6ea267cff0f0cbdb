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
LEVELS = (0.7, 0.35)
"""Depths in the head (0 = highest slice) at which an axial slice is shown besides that of the lesion."""
PLANES = (("axial", ("R", "L")), ("coronal", ("R", "L")), ("sagittal", ("A", "P")))
"""What cuts through each axis of an array is called, and what is left and right in it."""


@dataclass(frozen=True)
class View:
    """A channel as it is drawn: axes x, y, z to the patient's left, back and feet, so that slices lie as they are seen.

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

    def cuts(self) -> list[tuple[int, int]]:
        """Axis and place of the slices with most lesion or, without one, through the middle; another axial one."""
        fullest = [fullest_slice(self.masks, axis) for axis in range(3)]
        at = [_level(self.head, axis, 0.5) if place is None else place for axis, place in enumerate(fullest)]
        other = max((_level(self.head, 0, level) for level in LEVELS), key=lambda z: abs(z - at[0]))
        return [(0, at[0]), (0, other), (1, at[1]), (2, at[2])]

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
            for axis, (through, at) in zip(column, view.cuts(), strict=True):
                _draw_panel(axis, view, through, at, window)
            column[0].set_title(channel, fontsize=10, fontweight="bold")
        figure.suptitle(title, fontsize=11)
        if handles := list(_legend(list(views.values()), masks, reference)):
            figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8)
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DPI)


def _views(images: dict[str, sitk.Image], masks: dict[str, sitk.Image], reference: str) -> dict[str, View]:
    # Voxels are reordered, not interpolated: x, y, z become those axes closest to the patient's left, back and feet.
    upright = {channel: sitk.DICOMOrient(image, "LPI") for channel, image in images.items()}
    outlined = [sitk.DICOMOrient(mask, "LPI") for mask in masks.values()]
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


def _others(through: int) -> list[int]:
    """The axes down and across a slice through an axis."""
    return [axis for axis in range(3) if axis != through]


def _heights(views: list[View]) -> list[float]:
    """Of the rows, as shares of a panel's width."""
    shapes = [[[np.ptp(view.frame(axis)) for axis in _others(through)] for through, _ in view.cuts()] for view in views]
    return [float(max(rows / columns for rows, columns in row)) for row in zip(*shapes, strict=True)]


def _draw_panel(axis: Axes, view: View, through: int, at: int, window: tuple[float, float]) -> None:
    size, (name, sides) = [view.spacing[other] for other in _others(through)], PLANES[through]
    picture = view.values.take(at, through)
    draw_slice(axis, picture, size, vmin=window[0], vmax=window[1], interpolation="bilinear")
    if view.edges is not None and view.head.any():
        values = gaussian_filter(view.edges.take(at, through), EDGE_BLUR_MM / np.array(size))
        level = EDGE_LEVEL * float(np.median(view.edges[view.head]))
        draw_outline(axis, values, size, EDGE_COLOUR, level=level, linewidths=0.6)
    for mask, colour in zip(view.masks, MASK_COLOURS, strict=False):
        draw_outline(axis, mask.take(at, through), size, colour, linewidths=1.3)
    name_sides(axis, sides, fontsize=9)
    axis.text(0.02, 0.02, name, transform=axis.transAxes, color="white", fontsize=7, va="bottom")
    rows, columns = (view.frame(other) for other in _others(through))
    axis.set(xlim=columns, ylim=rows[::-1], facecolor="black")


def _legend(views: list[View], masks: dict[str, sitk.Image], reference: str) -> Iterator[object]:
    from matplotlib.lines import Line2D

    for modality, colour in zip(masks, MASK_COLOURS, strict=False):
        yield Line2D([], [], color=colour, label=f"mask {modality}" if modality else "mask")
    if any(view.edges is not None for view in views):
        yield Line2D([], [], color=EDGE_COLOUR, linewidth=1, label=f"edges of {reference}, drawn over the others")
