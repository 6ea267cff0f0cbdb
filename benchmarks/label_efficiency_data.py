"""The data of benchmarks/label_efficiency.py: a dataset's cases by role, and what is drawn of them."""

from __future__ import annotations

import itertools
import json
import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset, labelled_sources
from nnunet_mgcl.engine.branches import Branch, build_branches
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.plan.plans import resolve_block

BATCH = 8
CACHED = {"labelled": 6400, "pool": 8000}
"""Augmented samples, made once a draw; a training draws its batches from them."""
FEWEST = 2
"""Labelled cases of a draw that show a lesion, one for each half of the plateau rule."""
Samples = tuple[Tensor, Tensor]
"""Images and masks."""


class Study:
    """A preprocessed dataset, its branches and the roles of its cases."""

    def __init__(self, dataset: str, plans: str, sizes: tuple[int, ...], device: torch.device | str = "cpu") -> None:
        self.dataset, folder = dataset, Path(os.environ["nnUNet_preprocessed"]) / dataset
        self.device = torch.device(device)
        self.device_name = torch.cuda.get_device_name() if self.device.type == "cuda" else "CPU"
        self.plans = json.loads((folder / f"{plans}.json").read_text())
        self.dataset_json = json.loads((folder / "dataset.json").read_text())
        config = resolve_block(self.plans, "2d", self.dataset_json, tss_known=False)
        self.branches = {b.name: b for b in build_branches(config, self.plans, "2d", self.dataset_json)}
        self.folder = folder / next(iter(self.branches.values())).configuration.data_identifier
        cases = sorted(path.stem for path in self.folder.glob("*.b2nd") if not path.stem.endswith("_seg"))
        shuffled = [str(case) for case in np.random.default_rng(0).permutation(cases)]
        ends = list(itertools.accumulate(sizes))
        self.drawn_from, self.pool, self.test = (
            shuffled[: ends[0]],
            shuffled[ends[0] : ends[1]],
            shuffled[ends[1] : ends[2]],
        )


@dataclass
class Draw:
    """One choice of labelled cases for one branch, with everything that its arms share."""

    study: Study
    branch: Branch
    labels: int
    seed: int

    def new_network(self, purpose: str) -> UNet:
        """A He-initialised U-Net of the branch."""
        reseed(self.seed, self.branch.name, purpose, "initialisation")
        return self.branch.build_unet().to(self.study.device)

    @cached_property
    def labelled(self) -> list[str]:
        """The labelled cases, small lesions first, so that every second one makes a fair half.

        Drawn again until `FEWEST` show a lesion: many do not in FLAIR, and without any there is nothing to learn from.
        """
        random = np.random.default_rng(1000 + self.seed)
        while True:
            drawn = random.choice(self.study.drawn_from, self.labels, replace=False)
            sizes = {str(case): int((self.volumes([case])[1][0] > 0).sum()) for case in drawn}
            if sum(size > 0 for size in sizes.values()) >= FEWEST:
                return sorted(sizes, key=sizes.__getitem__)

    @property
    def pool(self) -> list[str]:
        """The study's pool; where it has none, what was not drawn."""
        return self.study.pool or [case for case in self.study.drawn_from if case not in self.labelled]

    @cached_property
    def test(self) -> tuple[list[Tensor], list[Tensor]]:
        """Images and masks of the test cases."""
        return self.volumes(self.study.test)

    @cached_property
    def labelled_samples(self) -> Samples:
        """Augmented samples of all labelled cases."""
        return self.samples(self.dataset(self.labelled), CACHED["labelled"], "labelled")

    @cached_property
    def pool_samples(self) -> Samples:
        """Augmented samples of the pool with their true masks, which only upper bounds read."""
        return self.samples(self.dataset(self.pool, located=False), CACHED["pool"], "pool")

    def dataset(self, cases: list[str], located: bool = True) -> ModalityDataset:
        """The branch's channels and masks; without locations nothing steers the loader to a lesion."""
        own = ModalityDataset(
            labelled_sources(self.study.folder, cases, self.branch.channels, self.branch.lesion_labels, None)
        )
        return own if located else Unlocated(own)

    def samples(self, dataset: ModalityDataset, count: int, purpose: str) -> Samples:
        """Images and masks as nnU-Net's loader and augmentation make them."""
        reseed(self.seed, self.branch.name, purpose)
        plan, labels = self.branch.configuration, self.branch.label_manager
        square = max(plan.patch_size) / min(plan.patch_size) <= 1.5  # nnU-Net's rule
        angle = math.pi if square else math.radians(15)
        initial = get_patch_size(plan.patch_size, *[(-angle, angle)] * 3, (0.85, 1.25))
        transforms = nnUNetTrainer.get_training_transforms(
            plan.patch_size, (-angle, angle), None, (0, 1), False, use_mask_for_norm=plan.use_mask_for_norm,
            foreground_labels=labels.foreground_labels,
        )  # fmt: skip
        loader = nnUNetDataLoader(
            dataset, BATCH, initial[-2:], plan.patch_size, labels, oversample_foreground_percent=0.33,
            transforms=transforms,
        )  # fmt: skip
        batches = [loader.generate_train_batch() for _ in range(math.ceil(count / BATCH))]
        images, device = torch.cat([batch["data"].half() for batch in batches]), self.study.device
        return images.to(device), torch.cat([batch["target"].to(torch.int8) for batch in batches]).to(device)

    def volumes(self, cases: list[str]) -> tuple[list[Tensor], list[Tensor]]:
        """Whole cases as slices `(Z, C, X, Y)` and `(Z, 1, X, Y)`, padded to what the network can halve."""
        dataset, strides = self.dataset(list(cases)), np.prod(self.branch.configuration.pool_op_kernel_sizes, axis=0)
        images, masks = [], []
        for case in dataset.identifiers:
            image, mask, *_ = dataset.load_case(case)
            pads = [int(-side % stride) for side, stride in zip(image.shape[2:], strides, strict=True)]
            margins = [(0, 0), (0, 0), *((pad // 2, pad - pad // 2) for pad in pads)]
            for kept, own, kind in ((images, image, np.float32), (masks, mask, np.int8)):
                volume = torch.from_numpy(np.pad(np.array(own[:], kind), margins)).transpose(0, 1)
                kept.append(volume.to(self.study.device))
            masks[-1].clamp_(min=0)
        return images, masks


class Unlocated(ModalityDataset):
    """Cases of which nobody knows where the lesions are."""

    def __init__(self, dataset: ModalityDataset) -> None:
        super().__init__(dataset.sources.values())

    def load_case(self, identifier: str) -> tuple:
        """As nnU-Net's, without locations."""
        image, mask, previous, properties = super().load_case(identifier)
        return image, mask, previous, properties | {"class_locations": {}}


class Masked(Unlocated):
    """Cases with masks of a network, which the loader may aim at as nnU-Net does."""

    def __init__(self, dataset: ModalityDataset, masks: dict[str, Tensor]) -> None:
        super().__init__(dataset)
        self.masks = masks
        self.voxels = {case: np.argwhere(mask.numpy()[None] > 0) for case, mask in masks.items()}

    def load_case(self, identifier: str) -> tuple:
        """As nnU-Net's, with the other mask and its locations."""
        image, _, previous, properties = super().load_case(identifier)
        locations = {1: self.voxels[identifier]}
        return image, self.masks[identifier].numpy()[None], previous, properties | {"class_locations": locations}
