"""Builds the whole network from a plan alone, as nnU-Net's stock predictor asks for it."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import nn

from nnunet_mgcl.config import MGCLConfig
from nnunet_mgcl.errors import UserError
from nnunet_mgcl.network.branch import build_branch
from nnunet_mgcl.network.feature_level import choose_level
from nnunet_mgcl.network.fusion import CombinationFusion, SharedFusion, label_membership
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.older import filled


def resolved_config(configuration: ConfigurationManager) -> MGCLConfig:
    """The resolved `mgcl` block that the trainer wrote into the plan, whichever version that was.

    Raises:
        UserError: No trainer of this plugin wrote the plan.
    """
    if "mgcl" not in configuration.configuration:
        raise UserError("plans.json of the model", "no mgcl block", "a model of MGCLTrainer", "check -tr")
    return MGCLConfig.model_validate(filled(configuration.configuration["mgcl"]))


def build_network(configuration: ConfigurationManager, num_outputs: int, deep_supervision: bool) -> MGCLNetwork:
    """The network of a resolved plan; the fold and the dataset folder have no influence on it."""
    config = resolved_config(configuration)
    assert config.modalities is not None
    channels = list(config.modalities.values())
    if config.lesion_labels:
        fusion: nn.Module = CombinationFusion(label_membership(config, num_outputs))
        branch_outputs = 1
    else:
        fusion = SharedFusion(len(channels), num_outputs)
        branch_outputs = num_outputs
    branches = [build_branch(configuration, len(c), branch_outputs, deep_supervision) for c in channels]
    checkpointing = config.segment.checkpointing
    if not config.tss.enabled:
        return MGCLNetwork(branches, channels, fusion, checkpointing=checkpointing)
    tss = config.tss
    assert tss.modalities and tss.slices and tss.size
    seen = [list(config.modalities).index(name) for name in tss.modalities]
    level = choose_level(configuration.pool_op_kernel_sizes, tss.slices, tss.size)
    if tss.grid > min(level.height, level.width):
        raise UserError(
            "mgcl.tss.grid", str(tss.grid), f"at most the smaller side of the feature map {level.height} x "
            f"{level.width}", "lower it (mgcl plan --set tss.grid=N), or raise tss.size",
        )  # fmt: skip
    classifier = TSSClassifier(tss.head, len(seen), level, tss.grid, tss.heads)
    return MGCLNetwork(branches, channels, fusion, classifier, seen, level, checkpointing)
