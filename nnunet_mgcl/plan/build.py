"""Builds the whole network from a plan alone, as nnU-Net's stock predictor asks for it."""

from __future__ import annotations

from math import prod

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import nn

from nnunet_mgcl.network.branch import build_branch
from nnunet_mgcl.network.feature_level import FeatureLevel, choose_level
from nnunet_mgcl.network.fusion import CombinationFusion, SharedFusion, label_membership
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.network.tss_heads import LESIONS, MEASURES, READS
from nnunet_mgcl.plan.config import BLOCKS, MGCLConfig, TSSConfig, config_model
from nnunet_mgcl.plan.older import filled
from nnunet_mgcl.plan.plans_file import check_complete
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.typed_json import checked


def resolved_config(configuration: ConfigurationManager) -> MGCLConfig:
    """The resolved `mgcl` block that the trainer wrote into the plan, whichever version that was.

    Raises:
        UserError: No trainer of this plugin wrote the plan.
    """
    where, restore = "plans.json of the model", "restore the plans.json that the training wrote"
    if not isinstance(block := configuration.configuration.get("mgcl"), dict):
        raise UserError(where, "no mgcl block", "a model of MGCLTrainer", f"check -tr, or {restore}")
    check_complete(configuration.configuration, f"{where}: its configuration")
    known = [name for name in BLOCKS if name in block]  # others are of methods that only their trainer knows
    foreign = {name for name, own in block.items() if isinstance(own, dict)} - {*MGCLConfig.model_fields, *known}
    own = {name: value for name, value in block.items() if name not in foreign}
    config = checked(config_model(known), filled(own, config_model(known)), f"{where}: mgcl", restore, ".")
    if not config.modalities or config.tss.enabled is None or not config.tss.modalities:
        raise UserError(where, "an mgcl block that no training has completed", "that of a trained model", restore)
    return config


def build_network(configuration: ConfigurationManager, num_outputs: int, deep_supervision: bool) -> MGCLNetwork:
    """The network of a resolved plan; the fold and the dataset folder have no influence on it."""
    config = resolved_config(configuration)
    assert config.modalities is not None
    channels = list(config.modalities.values())
    if config.lesion_labels:
        fusion: nn.Module = CombinationFusion(label_membership(config.labels_by_branch, num_outputs))
        branch_outputs = 1
    else:
        fusion = SharedFusion(len(channels), num_outputs)
        branch_outputs = num_outputs
    branches = [build_branch(configuration, len(c), branch_outputs, deep_supervision) for c in channels]
    checkpointing = config.segment.checkpointing
    if not config.tss.enabled:
        return MGCLNetwork(branches, channels, fusion, checkpointing=checkpointing)
    seen, level = _seen_branches(config), _feature_level(configuration, config)
    _check_grids(config.tss, level)
    divisor = [prod(axis) for axis in zip(*configuration.pool_op_kernel_sizes, strict=True)]
    classifier = build_classifier(configuration, config.tss.head)
    return MGCLNetwork(branches, channels, fusion, classifier, seen, level, divisor, checkpointing)


def build_classifier(configuration: ConfigurationManager, kind: str) -> TSSClassifier:
    """A TSS head for the network of a resolved plan.

    Args:
        configuration: Of the resolved plan.
        kind: As in `tss.head`, whatever the plan says there.
    """
    config = resolved_config(configuration)
    assert config.modalities is not None
    channels, level = list(config.modalities.values()), _feature_level(configuration, config)
    grid = getattr(config.tss, _grid_key(kind))
    return TSSClassifier(kind, [channels[i] for i in _seen_branches(config)], level, grid, config.tss.heads)


def _check_grids(tss: TSSConfig, level: FeatureLevel) -> None:
    """Refuses, before the first phase, a grid that is finer than the feature map."""
    for key in {_grid_key(kind) for kind in (tss.head, *tss.compared) if READS.get(kind) != MEASURES}:
        if (grid := getattr(tss, key)) > min(level.height, level.width):
            raise UserError(
                f"mgcl.tss.{key}", str(grid), f"at most the smaller side of the feature map {level.height} x "
                f"{level.width}", f"lower it (mgcl plan --set tss.{key}=N), or raise tss.size",
            )  # fmt: skip


def _grid_key(kind: str) -> str:
    return "lesion_grid" if READS.get(kind) == LESIONS else "grid"


def _seen_branches(config: MGCLConfig) -> list[int]:
    assert config.modalities and config.tss.modalities
    return [list(config.modalities).index(name) for name in config.tss.modalities]


def _feature_level(configuration: ConfigurationManager, config: MGCLConfig) -> FeatureLevel:
    assert config.tss.slices and config.tss.size
    return choose_level(configuration.pool_op_kernel_sizes, config.tss.slices, config.tss.size)
