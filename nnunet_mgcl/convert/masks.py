"""The masks of a case as one label map on the common grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.convert.manifest.table import MASK_PREFIX, ManifestRow
from nnunet_mgcl.convert.registration.alignment import Aligned
from nnunet_mgcl.convert.registration.grid import Grid, resample_mask, same_grid
from nnunet_mgcl.convert.scans.reader import read_mask
from nnunet_mgcl.convert.settings import ANY, Labels, Settings
from nnunet_mgcl.data.images.bit_mask import encode
from nnunet_mgcl.system.errors import UserError

KEPT = 0.5
"""Where less than this share of a mask's volume is left on the common grid, a person has to look."""

LEAST_APART = 0.5
"""Scans that moved against each other by less (mm), or by less than half a voxel of the mask, count as unmoved."""

SEVERAL = 8
"""With more unknown values than these a mask is perhaps no label map: no label is offered for each."""


def join_masks(
    row: ManifestRow, scans: Mapping[str, sitk.Image], aligned: Aligned, settings: Settings
) -> tuple[sitk.Image, dict[str, float], list[str]]:
    """Reads the masks of a case and joins them.

    Args:
        row: Names the files. A shared mask lies on the grid of any channel, that of a modality on one of its own.
        scans: The scans as they were read.
        aligned: How they were brought onto the common grid: a mask moves with the scan it lies on.
        settings: Labels, modalities and masks of the dataset.

    Returns:
        The label map (uint8), the volume of each label or modality's mask in ml, and why a person should look at it.

    Raises:
        UserError: A mask cannot be read, lies on no channel's grid or has an unknown label.
    """
    values, doubts = {}, []
    for name, path in row.masks.items():
        if path is None:
            values[name] = np.zeros(aligned.grid.size[::-1], np.uint8)
            continue
        candidates = settings.modalities[name] if name else tuple(aligned.images)  # the reference comes first
        with row.reading(f"{MASK_PREFIX}{name}" if name else "mask"):
            mask = _numbered(read_mask(path), path, settings.labels, alone=not name)
            owner, *others = owners(mask, path, {channel: scans[channel] for channel in candidates})
        doubts += _ambiguous(mask, owner, others, aligned.transforms)
        moved = resample_mask(mask, aligned.grid, aligned.transforms[owner])
        values[name] = sitk.GetArrayFromImage(moved)
        before, after = _volume(mask), _volume(moved)
        if after < KEPT * before:
            what = f"the mask {name}".strip()
            doubts.append(f"of {before:.2f} ml of {what} {after:.2f} ml are left on the common grid")
    label_map = values[""] if "" in values else encode({m: v > 0 for m, v in values.items()}, settings.masks)
    return _image(label_map, aligned.grid), _volumes(values, aligned.grid, settings), doubts


def label_numbers(labels: Labels) -> dict[str, int]:
    """The labels as nnU-Net wants them, 1, 2, ... in the order of their values in the mask files."""
    return {name: number for number, name in enumerate(sorted(labels, key=lambda name: labels[name]), start=1)}


def _numbered(mask: sitk.Image, path: str, labels: Labels, *, alone: bool) -> sitk.Image:
    """The mask with the dataset's labels; `alone`: it may have several of them."""
    values = sitk.GetArrayViewFromImage(mask)
    if ANY in labels.values():
        return _image((values > 0).astype(np.uint8), Grid.of(mask))
    unknown = sorted(set(np.unique(values).tolist()) - {0, *labels.values()})
    if unknown:
        expected = "0 and " + ", ".join(f"{value} ({name})" for name, value in labels.items())
        remedy = f"--labels {next(iter(labels))}={ANY} makes them one label"
        if alone and len(unknown) <= SEVERAL:
            named = {**labels, **{f"label_{value}": value for value in unknown}}
            remedy += f", --labels {' '.join(f'{n}={v}' for n, v in named.items())} keeps them apart"
        remedy += "; or mend the mask"
        raise UserError(path, f"the labels {_listed(unknown)}", expected, remedy)
    numbers = {labels[name]: number for name, number in label_numbers(labels).items()}
    table = np.zeros(max(numbers) + 1, np.uint8)
    table[list(numbers)] = list(numbers.values())
    return _image(table[values], Grid.of(mask))


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:4])) + (", ..." if len(values) > 4 else "")


def owners(mask: sitk.Image | Grid, path: str, scans: Mapping[str, sitk.Image | Grid]) -> list[str]:
    """The channels on whose grid a mask lies.

    Raises:
        UserError: It lies on none.
    """
    found = [channel for channel, scan in scans.items() if same_grid(mask, scan)]
    if found:
        return found
    grids = "; ".join(f"{channel}: {_grid(scan)}" for channel, scan in scans.items())
    remedy = "draw the mask on one of these scans, or resample it to that scan's grid by nearest neighbour"
    raise UserError(path, f"a mask on another grid: {_grid(mask)}", f"the grid of a scan: {grids}", remedy)


def _grid(image: sitk.Image | Grid) -> Grid:
    return image if isinstance(image, Grid) else Grid.of(image)


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
    points = Grid.of(mask).point(np.array(list(product(*zip(lesion.min(0), lesion.max(0), strict=True)))))
    return max(
        float(np.linalg.norm(np.subtract(one.GetInverse().TransformPoint(p), other.GetInverse().TransformPoint(p))))
        for p in points.tolist()
    )


def _volume(mask: sitk.Image) -> float:
    return np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * float(np.prod(mask.GetSpacing())) / 1000


def _volumes(values: Mapping[str, np.ndarray], grid: Grid, settings: Settings) -> dict[str, float]:
    voxel = float(np.prod(grid.spacing)) / 1000
    if "" not in values:
        return {name: np.count_nonzero(mask) * voxel for name, mask in values.items()}
    numbers = label_numbers(settings.labels)
    return {name: np.count_nonzero(values[""] == number) * voxel for name, number in numbers.items()}


def _image(array: np.ndarray, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image
