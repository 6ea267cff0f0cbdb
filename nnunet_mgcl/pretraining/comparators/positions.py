"""nnU-Net's loader where it matters at which height of a volume a crop lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

PARTITIONS = 4
"""Of a volume along z, as in GCL."""


class PositionLoader(nnUNetDataLoader):
    """Adds `positions` `(B,)` to a batch: the centres of its crops along z, from 0 to 1."""

    def get_bbox(self, data_shape: np.ndarray, *args: Any, **kwargs: Any) -> tuple[list[int], list[int]]:
        """nnU-Net's crop; its position is noted."""
        lower, upper = super().get_bbox(data_shape, *args, **kwargs)
        lower, upper = self.moved(lower, upper, int(data_shape[0]))
        self._centres.append(float(np.clip((lower[0] + upper[0]) / 2 / data_shape[0], 0, 1)))
        return lower, upper

    def moved(self, lower: list[int], upper: list[int], slices: int) -> tuple[list[int], list[int]]:
        """Another crop in the place of nnU-Net's."""
        return lower, upper

    def generate_train_batch(self) -> dict[str, Any]:
        """nnU-Net's batch with the positions."""
        self._centres: list[float] = []
        batch: dict[str, Any] = super().generate_train_batch()
        return {**batch, "positions": torch.tensor(self._centres)}


class PartitionLoader(PositionLoader):
    """Batches of volumes with one crop of each of their partitions: the composition that GCL asks for.

    A 3d patch is centred in its partition, and so reaches beyond the first and the last slice.
    """

    def get_indices(self) -> list[str]:
        """A volume for every `PARTITIONS` crops."""
        indices = super().get_indices()
        return [indices[number // PARTITIONS] for number in range(len(indices))]

    def moved(self, lower: list[int], upper: list[int], slices: int) -> tuple[list[int], list[int]]:
        """The crop with its centre in the partition whose turn it is."""
        partition = len(self._centres) % PARTITIONS
        centre = (partition + np.random.uniform()) * slices / PARTITIONS
        start = int(np.floor(centre)) - (upper[0] - lower[0]) // 2
        return [start, *lower[1:]], [start + upper[0] - lower[0], *upper[1:]]
