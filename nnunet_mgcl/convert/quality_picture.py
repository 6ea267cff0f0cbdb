"""One picture a case in which a person sees within seconds whether the channels fit each other and the mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.convert.grid import Grid, same_grid
from nnunet_mgcl.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MASK_COLOURS = ("#ff6a00", "#56b4e9", "#00c79a", "#cc79a7")
"""Orange, sky blue, green, pink (after Okabe and Ito): told apart by colour-blind people, visible on grey."""
EDGE_COLOUR = "#f0e442"
EDGE_BLUR_MM = 1.5
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

    def millimetres(self, spacing: tuple[float, ...]) -> tuple[float, float]:
        """Height and width of a pixel."""
        rows, columns = (step for axis, step in enumerate(spacing[::-1]) if axis != self.axis)
        return rows, columns


AXIAL, CORONAL, SAGITTAL = Plane("axial", 0, ("R", "L")), Plane("coronal", 1, ("R", "L")), Plane("sagittal", 2, ("A", "P"))


@dataclass(frozen=True)
class View:
    """A channel as it is drawn: axes x, y, z to the patient's left, back and top.

    Attributes:
        image: In that orientation.
        values: Its `(Z, Y, X)` values.
        masks: Outlined on it, in the order of the colours.
        edges: `(Z, Y, X)` blurred values of the reference and the level of its edges; None: none are drawn.
        cuts: The rows of the picture.
    """

    image: sitk.Image
    values: np.ndarray
    masks: tuple[np.ndarray, ...]
    edges: tuple[np.ndarray, float] | None
    cuts: tuple[tuple[Plane, int], ...]


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
    from matplotlib.figure import Figure

    reference = reference or next(iter(images))
    upright = {channel: _upright(image) for channel, image in images.items()}
    outlined = {modality: _upright(mask) for modality, mask in masks.items()}
    views = [_view(channel, upright, outlined, reference) for channel in upright]
    heights = [max(_height_to_width(view, row) for view in views) for row in range(len(views[0].cuts))]
    size = (PANEL_INCHES * len(views) + 0.2, PANEL_INCHES * sum(heights) + 0.25 * len(heights) + 0.8)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = figure.subplots(len(heights), len(views), squeeze=False, gridspec_kw={"height_ratios": heights})
    for column, (channel, view) in enumerate(zip(upright, views, strict=True)):
        window = _window(view.values)
        for row, (plane, at) in enumerate(view.cuts):
            _draw_panel(axes[row, column], view, plane, at, window)
        shared = len(views) > 1 and channel == reference
        axes[0, column].set_title(f"{channel} (reference)" if shared else channel, fontsize=10, fontweight="bold")
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=list(_legend(views, masks, reference)), loc="outside lower center", ncols=2, fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


def _upright(image: sitk.Image) -> sitk.Image:
    """The image with its axes x, y, z closest to the patient's left, back and top; no value changes."""
    return sitk.DICOMOrient(image, "LPS")


def _view(channel: str, images: dict[str, sitk.Image], masks: dict[str, sitk.Image], reference: str) -> View:
    image = images[channel]
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    inside = tuple(sitk.GetArrayFromImage(mask) > 0 if same_grid(mask, image) else None for mask in masks.values())
    shown = tuple(np.zeros(values.shape, bool) if mask is None else mask for mask in inside)
    edges = _edges(images[reference]) if channel != reference and same_grid(images[reference], image) else None
    anchor = images[reference] if same_grid(images[reference], image) else image
    return View(image, values, shown, edges, _cuts(sitk.GetArrayViewFromImage(anchor), shown))


def _cuts(values: np.ndarray, masks: tuple[np.ndarray, ...]) -> tuple[tuple[Plane, int], ...]:
    """The slices with most lesion or, without one, through the middle of the head; and another axial slice."""
    head = values > values.mean()
    lesion = np.sum(masks, axis=0) if any(mask.any() for mask in masks) else None
    at = [_fullest(lesion, axis) if lesion is not None else _middle(head, axis, 0.5) for axis in range(3)]
    other = max((_middle(head, 0, level) for level in LEVELS), key=lambda z: abs(z - at[0]))
    return (AXIAL, at[0]), (AXIAL, other), (CORONAL, at[1]), (SAGITTAL, at[2])


def _profile(volume: np.ndarray, axis: int) -> np.ndarray:
    return volume.sum(axis=tuple({0, 1, 2} - {axis}))


def _fullest(volume: np.ndarray, axis: int) -> int:
    return int(_profile(volume, axis).argmax())


def _middle(head: np.ndarray, axis: int, level: float) -> int:
    """The slice at a share of the head's extent, small ends not counted."""
    profile = _profile(head, axis)
    where = np.flatnonzero(profile > 0.1 * profile.max())
    return int(where[round(level * (len(where) - 1))]) if len(where) else len(profile) // 2


def _edges(image: sitk.Image) -> tuple[np.ndarray, float]:
    """Blurred values, and the level between air and fluid on one side and tissue on the other (Otsu)."""
    blurred = sitk.DiscreteGaussian(sitk.Cast(image, sitk.sitkFloat32), EDGE_BLUR_MM**2)
    values = sitk.GetArrayFromImage(blurred)
    low, high = _window(values)
    values = np.clip(values, low, high)
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(values))
    return values, float(otsu.GetThreshold())


def _window(values: np.ndarray) -> tuple[float, float]:
    """What is black and what is white: a few very bright voxels do not count, nor does the amount of air."""
    low = float(np.percentile(values, 1))
    head = values[values > values.mean()]
    high = float(np.percentile(head, 99)) if head.size else low
    return low, max(high, low + 1e-6)


def _height_to_width(view: View, row: int) -> float:
    plane, at = view.cuts[row]
    rows, columns = np.array(plane.cut(view.values, at).shape) * plane.millimetres(view.image.GetSpacing())
    return float(rows / columns)


def _draw_panel(axis: Axes, view: View, plane: Plane, at: int, window: tuple[float, float]) -> None:
    rows, columns = plane.millimetres(view.image.GetSpacing())
    picture = plane.cut(view.values, at)
    y, x = (np.arange(picture.shape[0]) + 0.5) * rows, (np.arange(picture.shape[1]) + 0.5) * columns
    extent = (0, picture.shape[1] * columns, picture.shape[0] * rows, 0)
    axis.set_facecolor("black")
    axis.imshow(picture, cmap="gray", vmin=window[0], vmax=window[1], extent=extent, interpolation="bilinear")
    if view.edges is not None:
        values, level = plane.cut(view.edges[0], at), view.edges[1]
        if values.min() < level < values.max():
            axis.contour(x, y, values, levels=[level], colors=EDGE_COLOUR, linewidths=0.6)
    for mask, colour in zip(view.masks, MASK_COLOURS, strict=False):
        if (cut := plane.cut(mask, at)).any() and min(cut.shape) > 1:
            axis.contour(x, y, cut, levels=[0.5], colors=colour, linewidths=1.3)
    for side, place, align in zip(plane.sides, (0.02, 0.98), ("left", "right"), strict=True):
        axis.text(place, 0.5, side, transform=axis.transAxes, ha=align, va="center", color="white", fontsize=9)
    slices = view.values.shape[plane.axis]
    text = f"{plane.name} {at + 1}/{slices}"
    axis.text(0.02, 0.02, text, transform=axis.transAxes, color="white", fontsize=7, va="bottom")
    axis.set_xticks([])
    axis.set_yticks([])


def _legend(views: list[View], masks: dict[str, sitk.Image], reference: str) -> Iterator[object]:
    from matplotlib.lines import Line2D

    for modality, colour in zip(masks, MASK_COLOURS, strict=False):
        yield Line2D([], [], color=colour, label=f"mask {modality}" if modality else "mask")
    if any(view.edges is not None for view in views):
        yield Line2D([], [], color=EDGE_COLOUR, linewidth=1, label=f"edges of {reference}, drawn over the others")
