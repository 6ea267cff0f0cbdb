"""nnU-Net's data loader and augmentation over one branch's cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import Tensor

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset, PoolCase
from nnunet_mgcl.data.pool.manifest import noted_slices
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import RunContext
from nnunet_mgcl.system.errors import UserError

FOREGROUND_SHARE = 0.33
"""nnU-Net's own share of samples that are forced to contain foreground."""


def count_samples(context: RunContext, dataset: ModalityDataset) -> int:
    """Slices in 2d, cases in 3d: what one epoch passes over once."""
    if context.is_3d:
        return len(dataset.identifiers)
    pool = [source for source in dataset.sources.values() if type(source) is PoolCase]
    noted = noted_slices(pool[0].images) if pool else {}  # one branch has one pool
    known = [noted.get(source.case) if type(source) is PoolCase else None for source in dataset.sources.values()]
    return sum(
        slices or dataset.load_case(identifier)[0].shape[1]
        for identifier, slices in zip(dataset.sources, known, strict=True)
    )


def iterations_per_epoch(context: RunContext, dataset: ModalityDataset, batch_size: int) -> int:
    """Batches that make one pass over the samples, on this rank."""
    return ceil(count_samples(context, dataset) / (batch_size * context.world_size))


@dataclass(frozen=True)
class Sampling:
    """How batches are made of a branch's cases.

    Attributes:
        regions: Whether nnU-Net turns the label map into region channels (supervised phases) or leaves the label map
            (contrastive phases, where any foreground is lesion).
        labels: Whether labels take part at all: without them no sample is forced to contain foreground.
        views: Augmentations of each crop, which reach the step as `views`.
        loader: nnU-Net's loader, or one of its heirs that chooses cases and crops in its own way.
    """

    regions: bool = False
    labels: bool = True
    views: int = 1
    loader: type[nnUNetDataLoader] = nnUNetDataLoader


@dataclass(frozen=True)
class Views:
    """Augments a crop several times; the views are stacked on the channel axis, which is all that a loader passes on.

    Attributes:
        transforms: nnU-Net's.
        number: Of views.
    """

    transforms: Callable[..., dict[str, Any]]
    number: int

    def __call__(self, image: Tensor, segmentation: Tensor) -> dict[str, Any]:
        """Image `(C, ...)` and label map `(1, ...)` to `(V * C, ...)` and `(V, ...)`."""
        views = [self.transforms(image=image.clone(), segmentation=segmentation.clone()) for _ in range(self.number)]
        return {key: torch.cat([view[key] for view in views]) for key in ("image", "segmentation")}


def apart(data: Tensor, views: int) -> Tensor:
    """A batch `(B, V * C, ...)` of `Views` as `(V, B, C, ...)`."""
    return data.unflatten(1, (views, -1)).transpose(0, 1)


@contextmanager
def open_batches(
    context: RunContext, branch: Branch, dataset: ModalityDataset, batch_size: int, sampling: Sampling
) -> Iterator[Iterator[dict[str, Any]]]:
    """An endless stream of augmented batches with `data`, `target` and `keys`.

    Image and mask move together, so every slice, slab or patch label is a reduction of the augmented mask.
    """
    labels = branch.label_manager if sampling.labels else LabelManager({"background": 0, "lesion": 1}, None)
    augmentation = context.augmentation
    transforms = augmentation.transforms(
        branch.configuration.patch_size,
        augmentation.rotation,
        None,
        augmentation.mirror_axes,
        augmentation.dummy_2d,
        use_mask_for_norm=branch.configuration.use_mask_for_norm,
        is_cascaded=False,
        foreground_labels=labels.foreground_labels,
        regions=labels.foreground_regions if sampling.regions and labels.has_regions else None,
        ignore_label=labels.ignore_label,
    )
    loader: nnUNetDataLoader = sampling.loader(
        dataset,
        batch_size,
        augmentation.initial_patch_size,
        branch.configuration.patch_size,
        labels,
        oversample_foreground_percent=FOREGROUND_SHARE if sampling.labels else 0.0,
        transforms=Views(transforms, sampling.views) if sampling.views > 1 else transforms,
    )
    loader.indices = np.array(loader.indices)  # or numpy would make one of the list for every batch
    processes = get_allowed_n_proc_DA()
    if processes == 0:
        yield SingleThreadedAugmenter(loader, None)
        return
    workers = NonDetMultiThreadedAugmenter(
        _Telling(loader),
        None,
        processes,
        num_cached=max(6, processes // 2),
        pin_memory=context.device.type == "cuda",
        wait_time=0.002,
    )
    try:
        yield _raising(workers)
    finally:
        workers._finish()


class _Telling:
    """A loader whose worker hands on what is wrong with a case; it would print a traceback, and its parent no reason.

    Args:
        loader: nnU-Net's.
    """

    def __init__(self, loader: nnUNetDataLoader) -> None:
        self.loader, self.set_thread_id = loader, loader.set_thread_id

    def __next__(self) -> dict[str, Any]:
        try:
            batch: dict[str, Any] = next(self.loader)
        except UserError as mistake:
            return {"mistake": mistake}
        return batch


def _raising(batches: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        if "mistake" in batch:
            raise batch["mistake"]
        yield batch
