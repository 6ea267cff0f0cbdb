"""One patient's channels as an array, looked at before nnU-Net stumbles over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnunet_mgcl.data.images.checks import EDGE, geometry_mistake
from nnunet_mgcl.data.images.single_slice import is_single_slice
from nnunet_mgcl.system.errors import UserError


def check_array(image: Any, properties: Any, channels: Mapping[int, str], where: str = "the image") -> None:
    """Checks an image that nnU-Net is to predict.

    Args:
        image: The channels, `(C, Z, Y, X)`, finite numbers.
        properties: nnU-Net's: `spacing` has the edges of a voxel in mm, in the order of the axes.
        channels: Number and name of the model's channels.
        where: What to call the image.

    Raises:
        UserError: The image has another type, shape or number of channels, a value that is no number, or no spacing.
    """
    _check_shape(image, channels, where)
    spacing = properties.get("spacing") if isinstance(properties, Mapping) else None
    remedy = "give the edges of a voxel in mm in the order of the axes, as in spacing=(6.0, 1.0, 1.0)"
    if spacing is None:
        raise UserError(where, "no spacing", f"three numbers z, y, x: {EDGE}", remedy)
    try:
        edges = [float(edge) for edge in spacing]
    except (TypeError, ValueError):
        edges = []
    if len(edges) != 3:
        raise UserError(where, f"the spacing {spacing!r}", f"three numbers z, y, x: {EDGE}", remedy)
    flat = image.shape[1] == 1 and is_single_slice(edges)  # whose thickness nnU-Net's reader makes up
    if mistake := geometry_mistake(image.shape[1:], edges[1:] if flat else edges):
        raise UserError(where, *mistake, remedy)
    if not np.isfinite(image).all():
        lost = [number for number in channels if not np.isfinite(image[number]).all()]
        found = f"NaN or infinite values in channel {', '.join(map(str, lost))}"
        raise UserError(where, found, "finite intensities", "np.nan_to_num(image) makes 0 of NaN, if that is meant")


def _check_shape(image: Any, channels: Mapping[int, str], where: str) -> None:
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "biuf":
        found = f"an array of {image.dtype}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
        raise UserError(where, found, "an array of real numbers (C, Z, Y, X)", "np.stack the channels, axis=0")
    names = ", ".join(f"{number}: {name}" for number, name in channels.items())
    expected = f"({len(channels)}, Z, Y, X) with the channels {names}"
    if image.ndim != 4:
        remedy = "image[:, None] adds the axis z to single slices, np.stack([...]) joins volumes to channels"
        raise UserError(where, f"an array of {image.ndim} axes, {image.shape}", expected, remedy)
    if len(image) != len(channels):
        remedy = "np.stack([...]) the model's channels in this order"
        raise UserError(where, f"{len(image)} channels, {image.shape}", expected, remedy)
