"""nnU-Net's data loader and augmentation over one branch's cases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.context import Branch, PhaseContext

FOREGROUND_SHARE = 0.33
"""nnU-Net's own share of samples that are forced to contain foreground."""


def count_samples(context: PhaseContext, dataset: ModalityDataset) -> int:
    """Slices in 2d, cases in 3d: what one epoch passes over once."""
    if context.is_3d:
        return len(dataset.identifiers)
    return sum(dataset.load_case(identifier)[0].shape[1] for identifier in dataset.identifiers)


def iterations_per_epoch(context: PhaseContext, dataset: ModalityDataset, batch_size: int) -> int:
    """Batches that make one pass over the samples, on this rank."""
    return ceil(count_samples(context, dataset) / (batch_size * context.world_size))


@contextmanager
def open_batches(
    context: PhaseContext, branch: Branch, dataset: ModalityDataset, batch_size: int, region_targets: bool
) -> Iterator[Iterator[dict[str, Any]]]:
    """An endless stream of augmented batches with `data`, `target` and `keys`.

    Image and mask move together, so every slice, slab or patch label is a reduction of the augmented mask.

    Args:
        context: The phase's context.
        branch: The branch whose cases these are.
        dataset: The cases.
        batch_size: Samples a batch.
        region_targets: Whether nnU-Net turns the label map into region channels (supervised phases) or leaves the
            label map (contrastive phases, where any foreground is lesion).
    """
    augmentation, labels = context.augmentation, branch.label_manager
    transforms = augmentation.transforms(
        branch.configuration.patch_size,
        augmentation.rotation,
        None,
        augmentation.mirror_axes,
        augmentation.dummy_2d,
        use_mask_for_norm=branch.configuration.use_mask_for_norm,
        is_cascaded=False,
        foreground_labels=labels.foreground_labels,
        regions=labels.foreground_regions if region_targets and labels.has_regions else None,
        ignore_label=labels.ignore_label,
    )
    loader = nnUNetDataLoader(
        dataset,
        batch_size,
        augmentation.initial_patch_size,
        branch.configuration.patch_size,
        labels,
        oversample_foreground_percent=FOREGROUND_SHARE,
        transforms=transforms,
    )
    processes = get_allowed_n_proc_DA()
    if processes == 0:
        yield SingleThreadedAugmenter(loader, None)
        return
    workers = NonDetMultiThreadedAugmenter(
        loader,
        None,
        processes,
        num_cached=max(6, processes // 2),
        pin_memory=context.device.type == "cuda",
        wait_time=0.002,
    )
    try:
        yield workers
    finally:
        workers._finish()
