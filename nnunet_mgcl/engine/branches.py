"""The branches of a resolved plan, one a modality."""

from __future__ import annotations

from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.engine.context import Branch
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.plans import modality_view


def build_branches(
    config: MGCLConfig, plans: dict[str, Any], configuration: str, dataset_json: dict[str, Any]
) -> list[Branch]:
    """One branch a modality of the resolved configuration, each with its own view of the plan.

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
