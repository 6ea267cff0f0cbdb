"""The masks of a case on the common grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.convert.manifest.table import ManifestRow, mask_column
from nnunet_mgcl.convert.registration.alignment import Aligned
from nnunet_mgcl.convert.registration.grid import Grid, resample_mask
from nnunet_mgcl.convert.scans.reader import read_mask
from nnunet_mgcl.convert.settings import ANY, Settings
from nnunet_mgcl.data.images.bit_mask import encode
from nnunet_mgcl.system.errors import UserError

KEPT = 0.5
"""Where less than this share of a mask's volume is left on the common grid, a person has to look."""

LEAST_APART = 0.5
"""Scans that moved against each other by less (mm), or by less than half a voxel of the mask, count as unmoved."""

SEVERAL = 8
"""With more unknown values than these a mask is perhaps no label map: no label is offered for each."""


def read_masks(
    row: ManifestRow, scans: Mapping[str, sitk.Image], aligned: Aligned, settings: Settings
) -> tuple[dict[str, sitk.Image], list[str]]:
    """Reads the masks of a case and brings them onto the common grid.

    Args:
        row: Names the files. A shared mask lies on the grid of any channel, that of a modality on one of its own.
        scans: The scans as they were read.
        aligned: How they were brought onto the common grid: a mask moves with the scan it lies on.
        settings: Labels, modalities and masks of the dataset.

    Returns:
        Modality, or "" for a shared mask -> its labels, numbered as nnU-Net wants them (uint8); and why a person should
        look at them.

    Raises:
        UserError: A mask cannot be read, lies on no channel's grid or has an unknown label.
    """
    masks, doubts = {}, list[str]()
    for name, path in row.masks.items():
        if path is None:
            masks[name] = aligned.grid.image(np.zeros(aligned.grid.size[::-1], np.uint8))
            continue
        candidates = settings.modalities[name] if name else tuple(aligned.images)  # the reference comes first
        with row.reading(mask_column(name)):
            drawn = _numbered(read_mask(path), path, settings, alone=not name)
            owner, *others = owners(Grid.of(drawn), path, {channel: Grid.of(scans[channel]) for channel in candidates})
        doubts += _ambiguous(drawn, owner, others, aligned.transforms)
        masks[name] = resample_mask(drawn, aligned.grid, aligned.transforms[owner])
        before, after = _volume(drawn), _volume(masks[name])
        if after < KEPT * before:
            what = f"the mask {name}".strip()
            doubts.append(f"of {before:.2f} ml of {what} {after:.2f} ml are left on the common grid")
    return masks, doubts


def label_map(masks: Mapping[str, sitk.Image], settings: Settings) -> sitk.Image:
    """The masks as one label map (uint8); it has no lesion of a modality that the case lacks."""
    if "" in masks:
        return masks[""]
    grid = Grid.of(next(iter(masks.values())))
    none = np.zeros(grid.size[::-1], bool)
    values = {name: sitk.GetArrayViewFromImage(masks[name]) > 0 if name in masks else none for name in settings.masks}
    return grid.image(encode(values, settings.masks))


def lesion_ml(masks: Mapping[str, sitk.Image], settings: Settings) -> dict[str, float]:
    """The volume of each label, or of each modality's mask, in ml."""
    if "" in masks:
        return {name: _volume(masks[""] == number) for name, number in settings.label_numbers.items()}
    return {name: _volume(mask) for name, mask in masks.items()}


def owners(mask: Grid, path: str, scans: Mapping[str, Grid]) -> list[str]:
    """The channels on whose grid a mask lies.

    Raises:
        UserError: It lies on none.
    """
    fitting = [channel for channel, scan in scans.items() if mask.matches(scan)]
    if fitting:
        return fitting
    grids = "; ".join(f"{channel}: {scan}" for channel, scan in scans.items())
    remedy = "draw the mask on one of these scans, or resample it to that scan's grid by nearest neighbour"
    raise UserError(path, f"a mask on another grid: {mask}", f"the grid of a scan: {grids}", remedy)


def _numbered(mask: sitk.Image, path: str, settings: Settings, *, alone: bool) -> sitk.Image:
    """The mask with the dataset's labels; `alone`: it may have several of them."""
    values, labels = sitk.GetArrayViewFromImage(mask), settings.labels
    if ANY in labels.values():
        return mask > 0
    unknown = sorted(set(np.unique(values).tolist()) - {0, *labels.values()})
    if unknown:
        expected = "0 and " + ", ".join(f"{value} ({name})" for name, value in labels.items())
        remedy = f"--labels {next(iter(labels))}={ANY} makes them one label"
        if alone and len(unknown) <= SEVERAL:
            named = {**labels, **{f"label_{value}": value for value in unknown}}
            remedy += f", --labels {' '.join(f'{n}={v}' for n, v in named.items())} keeps them apart"
        listed = ", ".join(map(str, unknown[:4])) + (", ..." if len(unknown) > 4 else "")
        raise UserError(path, f"the labels {listed}", expected, f"{remedy}; or mend the mask")
    table = np.zeros(max(labels.values()) + 1, np.uint8)
    for name, number in settings.label_numbers.items():
        table[labels[name]] = number
    return Grid.of(mask).image(table[values])


def _ambiguous(
    mask: sitk.Image, owner: str, others: Sequence[str], transforms: Mapping[str, sitk.Transform]
) -> list[str]:
    """A doubt where the lesion would come to another place, had the mask been drawn on another scan of this grid."""
    apart = {channel: _apart(mask, transforms[owner], transforms[channel]) for channel in others}
    limit = max(LEAST_APART, min(mask.GetSpacing()) / 2)
    moved = [channel for channel in others if apart[channel] > limit]
    if not moved:
        return []
    return [
        f"the mask fits the grids of {' and '.join([owner, *moved])}, which moved against each other by "
        f"{max(apart.values()):.1f} mm at the lesion; taken as drawn on {owner}"
    ]


def _apart(mask: sitk.Image, one: sitk.Transform, other: sitk.Transform) -> float:
    """The largest distance (mm) over the box around the lesion; both are rigid, so it is at a corner."""
    lesion = np.argwhere(sitk.GetArrayViewFromImage(mask))[:, ::-1]
    if not lesion.size:
        return 0.0
    points = Grid.of(mask).point(np.array(list(product(*zip(lesion.min(0), lesion.max(0), strict=True))))).tolist()
    one, other = one.GetInverse(), other.GetInverse()
    return max(math.dist(one.TransformPoint(point), other.TransformPoint(point)) for point in points)


def _volume(mask: sitk.Image) -> float:
    return np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * (math.prod(mask.GetSpacing()) / 1000)
