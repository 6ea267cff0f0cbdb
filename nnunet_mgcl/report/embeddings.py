"""What a trained fold's networks make of slices, slabs and patches: the points of Fig. 8 and 9."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from torch import Tensor

from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.phases.coarse import CoarseModel
from nnunet_mgcl.phases.context import Branch
from nnunet_mgcl.phases.fine import FineModel
from nnunet_mgcl.report.trained_fold import TrainedFold

MAX_SLICES, MAX_VOLUMES = 200, 20
"""What passes a network at most, in 2d and 3d: a CPU has to bear it."""
MAX_POINTS = 600
"""Samples a cloud: t-SNE takes the square of it in time."""
CHUNK = 8
"""Slices that pass a network together; volumes pass one by one."""
BEFORE, AFTER_SEGMENT = "before", "after segment"


@dataclass(frozen=True)
class Cloud:
    """Samples of one branch and phase.

    Attributes:
        representations: The same samples at each stage of training, `(n, C)`.
        lesion: Which of them show a lesion, `(n,)` bool.
        patients: The patient of each, `(n,)`.
        available: How many there were to choose from, and how many of these with lesion.
    """

    representations: dict[str, np.ndarray]
    lesion: np.ndarray
    patients: np.ndarray
    available: tuple[int, int]


def embed(fold: TrainedFold, branch: Branch, phase: str) -> Cloud:
    """Takes the validation cases through the branch's networks before and after a phase, and at the end.

    A sample's representation is what the phase hands on: the phase's projection head H is thrown away after it, so it
    is what H averages, the deepest map (`coarse`) or the full-resolution features of a patch (`fine`). Labels are those
    of the phase, from the true masks. Samples without annotated voxels, or outside of the image (of patches: but for
    less than the area threshold), are left out.

    Args:
        fold: The trained fold.
        branch: The branch.
        phase: `coarse` or `fine`.
    """
    networks = {
        BEFORE: fold.initial(branch, phase),
        f"after {phase}": fold.pretrained(branch, phase),
        AFTER_SEGMENT: fold.final(branch),
    }
    models = {stage: _model(fold, branch, phase, unet) for stage, unet in networks.items()}
    parts, labels, patients = defaultdict(list), [], []
    for case, image, mask in _samples(fold, branch):
        for stage, model in models.items():
            with torch.no_grad():
                features = model.features(image.to(fold.device))
                parts[stage].append(model.projection.pooled(features).cpu().numpy())
        inside = model.labels((mask >= 0).short(), features) == 1
        labels.append(np.where(inside, model.labels(mask, features), -1))
        patients += [_patient(fold, case)] * len(inside)

    label = np.concatenate(labels)
    valid = np.flatnonzero(label >= 0)
    chosen = valid[draw(label[valid] == 1, fold.config.random_seed)]
    return Cloud(
        {stage: np.concatenate(own)[chosen] for stage, own in parts.items()},
        label[chosen] == 1,
        np.array(patients)[chosen],
        (len(valid), int((label == 1).sum())),
    )


def draw(lesion: np.ndarray, seed: int) -> np.ndarray:
    """Which samples to keep where there are too many: all with lesion, unless they are more than half.

    Args:
        lesion: `(n,)` bool.
        seed: Of the draw.

    Returns:
        Sorted indices, at most `MAX_POINTS`.
    """
    positive, negative = np.flatnonzero(lesion), np.flatnonzero(~lesion)
    kept = min(len(positive), max(MAX_POINTS // 2, MAX_POINTS - len(negative)))
    random = np.random.default_rng(seed)
    with_lesion = random.choice(positive, kept, replace=False)
    without = random.choice(negative, min(len(negative), MAX_POINTS - kept), replace=False)
    return np.sort(np.concatenate([with_lesion, without]))


def sources(fold: TrainedFold, branch: Branch) -> list[tuple[str, list[int]]]:
    """The validation cases that pass the networks, each with its slices; evenly spread where there are too many."""
    dataset = fold.dataset(branch)
    depths = {case: dataset.load_case(case)[0].shape[1] for case in dataset.identifiers}
    if fold.is_3d:
        step = ceil(len(depths) / MAX_VOLUMES)
        return [(case, list(range(depths[case]))) for case in list(depths)[::step]]
    step, seen, result = ceil(sum(depths.values()) / MAX_SLICES), 0, []
    for case, depth in depths.items():
        if own := list(range(-seen % step, depth, step)):
            result.append((case, own))
        seen += depth
    return result


def _samples(fold: TrainedFold, branch: Branch) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Case, image `(B, C, [Z,] X, Y)` and mask `(B, 1, [Z,] X, Y)`, cut to the patch size around the middle."""
    dataset, size = fold.dataset(branch), branch.configuration.patch_size
    for case, slices in sources(fold, branch):
        image, mask, *_ = dataset.load_case(case)
        volumes = [
            torch.from_numpy(crop_and_pad_nd(np.array(array[:])[:, slices], _middle(array.shape, size), fill))
            for array, fill in ((image, 0), (mask, -1))
        ]
        pair = [volume[None] if fold.is_3d else volume.transpose(0, 1) for volume in volumes]
        for own_image, own_mask in zip(pair[0].split(CHUNK), pair[1].split(CHUNK), strict=True):
            yield case, own_image.float(), own_mask.short()


def _middle(shape: tuple[int, ...], size: list[int]) -> list[list[int]]:
    """A box of this size around the middle of the last axes; it may be larger than they are."""
    starts = [(full - wanted) // 2 for full, wanted in zip(shape[-len(size) :], size, strict=True)]
    return [[start, start + wanted] for start, wanted in zip(starts, size, strict=True)]


def _model(fold: TrainedFold, branch: Branch, phase: str, unet: UNet) -> CoarseModel | FineModel:
    ignore_label = branch.label_manager.ignore_label
    if phase == "coarse":
        model: CoarseModel | FineModel = CoarseModel(unet, fold.config.coarse, ignore_label)
    else:
        model = FineModel(unet, fold.config.fine, ignore_label)
    return model.to(fold.device).eval()


def _patient(fold: TrainedFold, case: str) -> str:
    table = fold.run.tss_table
    return table.patient(case) if table else case
