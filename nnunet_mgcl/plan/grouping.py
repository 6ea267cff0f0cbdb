"""Which channels each branch of the network has, and which labels are lesion for it."""

from __future__ import annotations

import re
from typing import Any

from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.names import check_branch_name

MAX_MASKS = 4
"""Most branches with a mask of their own: the bit mask needs 2^M labels."""


def one_branch_a_channel(dataset_json: dict[str, Any]) -> dict[str, list[int]]:
    """Branches by channel name, made fit for a folder; equal names get their channel number."""
    names = {number: re.sub(r"[^A-Za-z0-9_-]", "_", name) for number, name in channel_names(dataset_json).items()}
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {f"{name}_{number}" if name in twice else name: [number] for number, name in names.items()}


def check_modalities(modalities: dict[str, list[int]], dataset_json: dict[str, Any], where: str) -> None:
    """Checks that every channel is in one branch, and every branch's name can be a folder's.

    Raises:
        UserError: `where` it is not so.
    """
    channels = channel_names(dataset_json)
    where = f"{where}.modalities"
    for name, own in modalities.items():
        check_branch_name(name, where)
        if not own:
            raise UserError(f"{where}.{name}", "no channel", "at least one", "list its channels or remove it")
        if unknown := [channel for channel in own if channel not in channels]:
            raise UserError(f"{where}.{name}", f"channel {unknown[0]}", f"one of {channels}", "mend the number")
    used = sorted(channel for own in modalities.values() for channel in own)
    if used != list(channels):
        raise UserError(where, f"channels {used}", f"each of {channels} exactly once", "mend the grouping")


def check_masks(masks: dict[str, list[int]], modalities: list[str], dataset_json: dict[str, Any], where: str) -> None:
    """Checks that the labels are exactly the 2^M combinations of the branches.

    Raises:
        UserError: `where` they are not.
    """
    where = f"{where}.lesion_labels"
    if set(masks) != set(modalities):
        raise UserError(where, f"masks for {list(masks)}", f"one for each of {modalities}", "use the modalities' names")
    if len(masks) > MAX_MASKS:
        raise UserError(where, f"{len(masks)} masks", f"at most {MAX_MASKS}", "group channels or share one label map")
    regions = [name for name, value in dataset_json["labels"].items() if isinstance(value, list | tuple)]
    if regions or dataset_json.get("regions_class_order"):
        raise UserError(where, f"together with regions {regions}", "plain labels", "declare one label a combination")
    labels = {value: name for name, value in dataset_json["labels"].items() if name != "ignore"}
    lesions = sorted(set(labels) - {0})
    for modality, own in masks.items():
        if unknown := [label for label in own if label not in lesions]:
            raise UserError(f"{where}.{modality}", f"label {unknown[0]}", f"one of {lesions}", "mend the number")
    owners: dict[frozenset[str], int] = {}
    for label in sorted(labels):
        members = frozenset(modality for modality, own in masks.items() if label in own)
        if members in owners:
            found = f"labels {owners[members]} and {label} both mean {sorted(members) or 'background'}"
            raise UserError(where, found, "a combination of its own for each label", "mend the lists")
        owners[members] = label
    if len(owners) != 2 ** len(masks):
        expected = f"all {2 ** len(masks)} combinations of {list(masks)}"
        remedy = "declare also the combinations that do not occur"
        raise UserError(where, f"{len(owners)} labels in dataset.json", expected, remedy)
