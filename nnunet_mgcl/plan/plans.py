"""Reads a plans file: the resolved `mgcl` block, and the view of a plan for some of its channels."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from nnunet_mgcl.plan.config import MGCLConfig, TSSConfig, config_model
from nnunet_mgcl.plan.dataset_json import BOTH_COPIES, Grouping, channel_names, check_dataset_json
from nnunet_mgcl.plan.grouping import check_masks, check_modalities, one_branch_a_channel
from nnunet_mgcl.plan.older import filled, followed
from nnunet_mgcl.plan.plans_file import INTENSITIES, OLDER_INTENSITIES, check_channels, check_complete
from nnunet_mgcl.system.errors import UserError, check_known
from nnunet_mgcl.system.typed_json import first_mistake, key_path

if TYPE_CHECKING:  # it brings torch
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

GROUPING = f"{BOTH_COPIES}: mgcl"
"""What a message calls the groups."""


def deep_merge(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """Returns a deep copy of `base` where nested keys of `overlay` win; lists are replaced, not joined."""
    merged = deepcopy(base)
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = deep_merge(merged[key], value)
        else:
            merged[key] = deepcopy(value)
    return merged


def configuration_chain(plans: dict[str, Any], configuration: str) -> list[str]:
    """Names the configurations that `configuration` inherits from, farthest first and itself last.

    Raises:
        UserError: A configuration is unknown or inherits from itself.
    """
    if not isinstance(plans.get("configurations"), dict):
        raise UserError(
            f"plans {plans.get('plans_name', '')}", "no configurations", "a plans file of nnU-Net",
            "plan the dataset again (nnUNetv2_plan_experiment), or restore the file",
        )  # fmt: skip
    chain: list[str] = []
    name: str | None = configuration
    while name is not None:
        where = f"configurations.{chain[0]}.inherits_from" if chain else f"configuration {name}"
        if name not in plans["configurations"]:
            raise UserError(where, repr(name), f"one of {list(plans['configurations'])}", "name one of these")
        if name in chain:
            raise UserError(where, f"a circle: {' -> '.join([*reversed(chain), name])}", "a chain", "mend the plans")
        chain.insert(0, name)
        name = plans["configurations"][name].get("inherits_from")
    return chain


def planned(plans: PlansManager, configuration: str) -> ConfigurationManager:
    """The configuration as nnU-Net takes it from the plans.

    Raises:
        UserError: It is unknown, or inherits from itself or from an unknown one.
    """
    configuration_chain(plans.plans, configuration)
    return plans.get_configuration(configuration)


def merged_block(plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    """The `mgcl` block, merged key by key along the chain (nnU-Net would replace it whole)."""
    block: dict[str, Any] = {}
    for name in configuration_chain(plans, configuration):
        own = plans["configurations"][name].get("mgcl", {})
        if not isinstance(own, dict):
            raise UserError(f"configurations.{name}.mgcl", repr(own), "a JSON object", "see `mgcl schema`")
        block = deep_merge(block, own)
    return block


def merged_configuration(plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    """The configuration as nnU-Net resolves it (children replace whole keys), with the merged block.

    Raises:
        UserError: A key is missing or wrong.
    """
    merged: dict[str, Any] = {}
    for name in configuration_chain(plans, configuration):
        merged.update(deepcopy(plans["configurations"][name]))
    merged.pop("inherits_from", None)
    if block := merged_block(plans, configuration):
        merged["mgcl"] = block
    check_complete(merged, f"configurations.{configuration}")
    return merged


def resolve_block(
    plans: dict[str, Any],
    configuration: str,
    dataset_json: dict[str, Any],
    tss_known: bool,
    earlier: dict[str, Any] | None = None,
    blocks: Collection[str] | None = None,
) -> MGCLConfig:
    """Validates the `mgcl` block and fills in what it leaves to the dataset and the plan.

    Nothing of the result is null but `focal_alpha` and shared `lesion_labels`; it is the same in every fold,
    and resolving it again changes nothing.

    Args:
        plans: Content of the plans file.
        configuration: Name of one of its configurations.
        dataset_json: Content of `dataset.json`.
        tss_known: Whether the dataset has a TSS table.
        earlier: The block of the folds that were trained before (`older.filled`), if there are any.
        blocks: The methods whose blocks are wanted, those of the trainer; None: all that are registered.

    Raises:
        UserError: The block is wrong, or does not fit the dataset or the plan.
    """
    described, resolved = check_dataset_json(dataset_json), merged_configuration(plans, configuration)
    if resolved.get("previous_stage"):
        raise UserError(
            f"configuration {configuration}", f"a cascade after {resolved['previous_stage']}",
            "a configuration without previous_stage", "train 2d, 3d_fullres or 3d_lowres",
        )  # fmt: skip
    config = _validated(plans, configuration, followed(resolved.get("mgcl", {}), earlier or {}, config_model()))
    where = f"configurations.{configuration}.mgcl"
    modalities, masks = _grouping(config, described.mgcl or Grouping(), dataset_json, where)
    check_channels(plans, resolved, configuration, len(channel_names(dataset_json)))

    methods = {
        name: own.resolved(resolved["batch_size"], resolved["patch_size"], f"{where}.{name}")
        for name, own in config.blocks().items()
        if blocks is None or name in blocks
    }
    tss = _resolved_tss(config.tss, plans, resolved["patch_size"], list(modalities), tss_known, f"{where}.tss")
    known = {"modalities": modalities, "lesion_labels": masks, "tss": tss, **methods}
    plain = {name: getattr(config, name) for name in MGCLConfig.model_fields}
    return config_model(methods).model_construct(**plain | known)


def _grouping(
    config: MGCLConfig, given: Grouping, dataset_json: dict[str, Any], where: str
) -> tuple[dict[str, list[int]], dict[str, list[int]] | None]:
    """Channels and lesion labels of each branch: the block's, else `dataset.json`'s, else one branch per channel."""
    modalities, source = _first_given((config.modalities, where), (given.modalities, GROUPING))
    modalities = one_branch_a_channel(dataset_json) if modalities is None else modalities
    check_modalities(modalities, dataset_json, source)
    masks, source = _first_given((config.lesion_labels, where), (given.lesion_labels, GROUPING))
    if masks is not None:
        check_masks(masks, list(modalities), dataset_json, source)
    return modalities, masks


def comparable(configuration: dict[str, Any], blocks: Collection[str]) -> dict[str, Any]:
    """A resolved configuration of any version, to be compared with another.

    It has no `checkpointing`, which changes no result, and so may change in a running fold; and of the methods' blocks
    only those that are named: older versions wrote all of them.

    Args:
        configuration: The configuration.
        blocks: Those that the trainer reads.
    """
    others = deepcopy(configuration)
    if isinstance(others.get("mgcl"), dict):
        kept = {name: own for name, own in others["mgcl"].items() if name in {*MGCLConfig.model_fields, *blocks}}
        others["mgcl"] = filled(kept, config_model(blocks))
    others.get("mgcl", {}).get("segment", {}).pop("checkpointing", None)
    return others


def modality_view(
    plans: dict[str, Any],
    configuration: str,
    dataset_json: dict[str, Any],
    channels: list[int],
    lesion_labels: list[int] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cuts a plan down to one configuration and some channels, renumbered from 0.

    Args:
        plans: Content of the plans file.
        configuration: The configuration to keep; it comes back without `inherits_from`.
        dataset_json: Content of `dataset.json`.
        channels: Channel numbers of the view, in its order.
        lesion_labels: Labels that become the view's only foreground label; None keeps the dataset's labels.

    Returns:
        Plans and `dataset.json` of the view, as deep copies.
    """
    resolved = merged_configuration(plans, configuration)
    resolved.pop("mgcl", None)
    for key in ("normalization_schemes", "use_mask_for_norm"):
        resolved[key] = [resolved[key][channel] for channel in channels]

    view = deepcopy({key: value for key, value in plans.items() if key != "configurations"})
    view["configurations"] = {configuration: resolved}
    for key in (INTENSITIES, OLDER_INTENSITIES):
        if key in view:
            view[key] = {str(new): view[key][str(old)] for new, old in enumerate(channels)}

    names = channel_names(dataset_json)
    dataset_view = deepcopy({key: value for key, value in dataset_json.items() if key not in ("mgcl", "modality")})
    dataset_view["channel_names"] = {str(new): names[old] for new, old in enumerate(channels)}
    if lesion_labels is not None:
        labels = {"background": 0, "lesion": 1}
        dataset_view["labels"] = labels | ({"ignore": 2} if "ignore" in dataset_json["labels"] else {})
        dataset_view.pop("regions_class_order", None)
    return view, dataset_view


def _validated(plans: dict[str, Any], configuration: str, block: dict[str, Any]) -> MGCLConfig:
    try:
        return config_model().model_validate(block)
    except ValidationError as error:
        owner = _defining_configuration(plans, configuration, key_path(error, block))
        remedy = "mend the value (`mgcl schema` lists them all)"
        raise first_mistake(error, config_model(), block, f"configurations.{owner}.mgcl", remedy, ".") from None


def _defining_configuration(plans: dict[str, Any], configuration: str, path: list[str]) -> str:
    """The configuration nearest in the chain whose own block holds the key."""
    for name in reversed(configuration_chain(plans, configuration)):
        node = plans["configurations"][name].get("mgcl", {})
        for part in path:
            if not isinstance(node, dict) or part not in node:
                break
            node = node[part]
            if isinstance(node, list):
                return name
        else:
            return name
    return configuration


def _first_given(*pairs: tuple[dict[str, list[int]] | None, str]) -> tuple[dict[str, list[int]] | None, str]:
    """The first pair whose value is not null, or the last pair."""
    return next((pair for pair in pairs if pair[0] is not None), pairs[-1])


def _resolved_tss(
    tss: TSSConfig,
    plans: dict[str, Any],
    patch_size: list[int],
    modalities: list[str],
    known: bool,
    where: str,
) -> TSSConfig:
    """Fills in the volume the head reads: b slices of the patch's size (2d), or the patch (3d)."""
    if tss.enabled and not known:
        raise UserError(f"{where}.enabled", "true, but no tss.csv", "a TSS table", "add tss.csv, or set null or false")
    if tss.modalities is not None:
        check_known(tss.modalities, modalities, f"{where}.modalities", f"some of {modalities}")
        if not tss.modalities or len(set(tss.modalities)) < len(tss.modalities):
            raise UserError(f"{where}.modalities", repr(tss.modalities), "each at most once, one at least", "mend it")
    # A 2d patch has no depth, so b is the fingerprint's median; a 3d patch is the volume.
    slices = plans["original_median_shape_after_transp"][0] if len(patch_size) == 2 else patch_size[0]
    filled = {
        "enabled": known if tss.enabled is None else tss.enabled,
        "modalities": tss.modalities or modalities,
        "slices": tss.slices or max(1, round(slices)),
        "size": tss.size or [int(side) for side in patch_size[-2:]],
    }
    return tss.model_copy(update=filled)
