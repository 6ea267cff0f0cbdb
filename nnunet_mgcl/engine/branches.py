"""The branches of a resolved plan, one per modality."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_mgcl.network.branch import UNet, build_branch
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.plans import modality_view


@dataclass(frozen=True)
class Branch:
    """One modality: its channels, its targets and its view of the plan."""

    name: str
    channels: list[int]
    lesion_labels: list[int] | None
    plans: PlansManager
    configuration: ConfigurationManager
    dataset_json: dict[str, Any]

    @cached_property
    def label_manager(self) -> LabelManager:
        """The labels that this branch segments."""
        return self.plans.get_label_manager(self.dataset_json)

    def build_unet(self) -> UNet:
        """The branch's U-Net with its own segmentation layers, He-initialised, without deep supervision."""
        outputs = self.label_manager.num_segmentation_heads
        unet = build_branch(self.configuration, len(self.channels), outputs, deep_supervision=False)
        unet.decoder.seg_layers[:-1].requires_grad_(False)  # they are idle, and DDP does not tolerate unused parameters
        return unet


def build_branches(
    config: MGCLConfig, plans: dict[str, Any], configuration: str, dataset_json: dict[str, Any]
) -> list[Branch]:
    """One branch per modality of the resolved configuration, each with its own view of the plan.

    Args:
        config: The configuration's resolved `mgcl` block.
        plans: The whole plan.
        configuration: nnU-Net's configuration.
        dataset_json: The dataset's, or the model's copy.
    """
    assert config.modalities is not None
    branches = []
    for name, channels in config.modalities.items():
        lesion_labels = config.lesion_labels[name] if config.lesion_labels else None
        view, own_json = modality_view(plans, configuration, dataset_json, channels, lesion_labels)
        manager = PlansManager(view)
        branches.append(
            Branch(name, channels, lesion_labels, manager, manager.get_configuration(configuration), own_json)
        )
    return branches
