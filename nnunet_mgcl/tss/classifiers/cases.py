"""The labelled cases as every classifier reads them: nnU-Net's preprocessed images, and lesion masks on their grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunet_mgcl.data.cases.labelled import case_spacing
from nnunet_mgcl.data.cases.modality_dataset import labelled_sources
from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.dataset_json import channel_names, label_targets
from nnunet_mgcl.plan.plans import merged_configuration
from nnunet_mgcl.tss.classifiers.masks import MaskSource
from nnunet_mgcl.tss.volumes import fit_volume


@dataclass(frozen=True)
class Cases:
    """Reads cases of one plan and configuration.

    Attributes:
        layout: The dataset's folders.
        plans: Content of the plans file.
        configuration: One of its configurations.
        config: Its resolved `mgcl` block.
        dataset_json: The dataset's.
        source: Where masks come from; None: no classifier asks for them.
    """

    layout: DatasetLayout
    plans: dict[str, Any]
    configuration: str
    config: MGCLConfig
    dataset_json: dict[str, Any]
    source: MaskSource | None

    @cached_property
    def lesions(self) -> dict[str, list[int]]:
        """Labels that make up each modality's lesion; where modalities share them, those of all as `lesion`."""
        if self.config.lesion_labels:
            return self.config.lesion_labels
        return {"lesion": sorted({label for own in label_targets(self.dataset_json).values() for label in own})}

    @cached_property
    def channels(self) -> dict[str, list[int]]:
        """The channels that each lesion is seen on: those of its modality."""
        if self.config.lesion_labels:
            return dict(self.config.modalities or {})
        return {"lesion": list(self.channel_names)}

    @cached_property
    def channel_names(self) -> dict[int, str]:
        """Names of the channels by number."""
        return channel_names(self.dataset_json)

    def spacing(self, properties: dict[str, Any]) -> tuple[float, ...]:
        """Of a preprocessed case in mm, `(z, y, x)`."""
        planned = merged_configuration(self.plans, self.configuration)["spacing"]
        return case_spacing(planned, properties, self.plans["transpose_forward"])

    def load(self, case: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Image `(C, Z, Y, X)`, true labels `(Z, Y, X)` and nnU-Net's properties of a preprocessed case."""
        data, seg, properties = self._source(case).load()
        return np.array(data[:], dtype=np.float32), np.asarray(seg[:])[0], properties

    def masks(self, case: str, labels: np.ndarray, properties: dict[str, Any]) -> dict[str, np.ndarray]:
        """Each lesion's mask `(Z, Y, X)` from the source of the masks; the last arguments as `load` gives them."""
        assert self.source is not None
        chosen = self.source.labels(case, labels, properties)
        return {name: np.isin(chosen, own) for name, own in self.lesions.items()}

    def volume(self, case: str, masked: bool) -> Tensor:
        """A whole volume `(C, b, H, W)` of the size that the plan fixes for TSS heads, float32.

        Args:
            case: The case.
            masked: Whether each channel is multiplied with the mask of its modality's lesion.
        """
        image, labels, properties = self.load(case)
        if masked:
            for name, mask in self.masks(case, labels, properties).items():
                image[self.channels[name]] *= mask
        return fit_volume(torch.from_numpy(image), self.config.tss)[0]

    def _source(self, case: str) -> Any:
        identifier = merged_configuration(self.plans, self.configuration)["data_identifier"]
        folder = self.layout.preprocessed / identifier
        return labelled_sources(folder, [case], list(self.channel_names), None, None)[0]
