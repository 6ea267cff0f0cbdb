"""Samples of whole cases as a contrastive phase's network represents them: for its monitoring and for the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from torch import Tensor

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.pretraining.monitor.probes import Probe

MOST_SLICES, MOST_VOLUMES = 100, 10
"""What passes a network at most each time that a training is looked at, in 2d and 3d."""
CHUNK = 8
"""Slices that pass a network together; volumes pass one by one."""

Slices = list[tuple[str, list[int]]]
"""Cases, each with the slices that are looked at."""


@dataclass(frozen=True)
class Samples:
    """Slices, slabs or patches.

    Attributes:
        representations: The same samples by each model, `(n, C)`.
        lesion: Which of them show a lesion, `(n,)` bool.
        cases: The case of each, `(n,)`.
        available: How many there were to choose from, and how many of these with lesion.
    """

    representations: dict[str, np.ndarray]
    lesion: np.ndarray
    cases: np.ndarray
    available: tuple[int, int]


def spread_slices(dataset: ModalityDataset, is_3d: bool, most: int) -> Slices:
    """The cases and slices that pass a network, evenly spread where there are too many.

    Args:
        dataset: The cases.
        is_3d: Whether whole volumes pass, with all of their slices.
        most: Slices, or in 3d volumes, at most.
    """
    depths = {case: dataset.load_case(case)[0].shape[1] for case in dataset.identifiers}
    if is_3d:
        step = ceil(len(depths) / most)
        return [(case, list(range(depths[case]))) for case in list(depths)[::step]]
    step, seen, result = ceil(sum(depths.values()) / most), 0, []
    for case, depth in depths.items():
        if own := list(range(-seen % step, depth, step)):
            result.append((case, own))
        seen += depth
    return result


def centre_samples(
    dataset: ModalityDataset, chosen: Slices, patch_size: list[int]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Case, image `(B, C, [Z,] X, Y)` and mask `(B, 1, [Z,] X, Y)`, cut to the patch size around the middle.

    Args:
        dataset: The cases.
        chosen: From `spread_slices`.
        patch_size: The plan's, of two or three axes.
    """
    for case, slices in chosen:
        image, mask, *_ = dataset.load_case(case)
        volumes = [
            torch.from_numpy(crop_and_pad_nd(np.array(array[:])[:, slices], _middle(array.shape, patch_size), fill))
            for array, fill in ((image, 0), (mask, -1))
        ]
        pair = [volume[None] if len(patch_size) == 3 else volume.transpose(0, 1) for volume in volumes]
        for own_image, own_mask in zip(pair[0].split(CHUNK), pair[1].split(CHUNK), strict=True):
            yield case, own_image.float(), own_mask.short()


def represent(
    models: Mapping[str, Probe],
    batches: Iterable[tuple[str, Tensor, Tensor]],
    device: torch.device,
    most: int,
    seed: int,
) -> Samples:
    """Takes samples through contrastive models.

    A sample's representation is what the phase hands on: its projection head H is thrown away, so it is what H pools
    of the network's features. Labels are those of the phase. Samples without annotated voxels, or
    outside of the image (of patches: but for less than the area threshold), are left out.

    Args:
        models: In eval mode, of one phase.
        batches: From `centre_samples`.
        device: Where the models are.
        most: Samples at most; which is drawn as `draw` says.
        seed: Of that draw.
    """
    parts: dict[str, list[np.ndarray]] = {stage: [] for stage in models}
    labels: list[np.ndarray] = [np.zeros(0, np.int64)]
    cases: list[str] = []
    for case, image, mask in batches:
        for stage, model in models.items():
            with torch.no_grad():
                features = model.features(image.to(device))
                parts[stage].append(model.pooled(features).float().cpu().numpy())
        inside = model.labels((mask >= 0).short(), features) == 1
        labels.append(np.where(inside, model.labels(mask, features), -1))
        cases += [case] * len(inside)

    label = np.concatenate(labels)
    valid = np.flatnonzero(label >= 0)
    chosen = valid[draw(label[valid] == 1, seed, most)]
    return Samples(
        {stage: np.concatenate(own)[chosen] for stage, own in parts.items()},
        label[chosen] == 1,
        np.array(cases)[chosen],
        (len(valid), int((label == 1).sum())),
    )


def draw(lesion: np.ndarray, seed: int, most: int) -> np.ndarray:
    """Which samples to keep where there are too many: all with lesion, unless they are more than half.

    Args:
        lesion: `(n,)` bool.
        seed: Of the draw.
        most: Samples at most.

    Returns:
        Sorted indices.
    """
    positive, negative = np.flatnonzero(lesion), np.flatnonzero(~lesion)
    kept = min(len(positive), max(most // 2, most - len(negative)))
    random = np.random.default_rng(seed)
    with_lesion = random.choice(positive, kept, replace=False)
    without = random.choice(negative, min(len(negative), most - kept), replace=False)
    return np.sort(np.concatenate([with_lesion, without]))


def _middle(shape: tuple[int, ...], size: list[int]) -> list[list[int]]:
    """A box of this size around the middle of the last axes; it may be larger than they are."""
    starts = [(full - wanted) // 2 for full, wanted in zip(shape[-len(size) :], size, strict=True)]
    return [[start, start + wanted] for start, wanted in zip(starts, size, strict=True)]
