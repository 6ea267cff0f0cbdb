"""Which channels and masks of a dataset the mismatch is measured in, by their names in `dataset.json`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from nnunet_mgcl.plan.dataset_json import channel_names, label_targets
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.numbers import integer

Value = TypeVar("Value")

CHANNELS = {"ADC": {"adc"}, "FLAIR": {"flair"}, "Tmax": {"tmax"}}
"""Words in the names of the channels that are measured. "PWI" may be any perfusion map and is never guessed."""
MASKS = {"DWI": {"dwi", "adc"}, "FLAIR": {"flair"}, "PWI": {"pwi", "tmax", "perfusion"}}
"""Words in the names of the masks, the keys of `lesion_labels`."""


@dataclass(frozen=True)
class Roles:
    """What a dataset has, as far as it is needed.

    Attributes:
        channels: Channel number of some of ADC, FLAIR and Tmax.
        masks: Labels whose voxels are lesion in some of DWI, FLAIR and PWI.
    """

    channels: dict[str, int]
    masks: dict[str, list[int]]

    @property
    def has_flair(self) -> bool:
        """Whether the DWI-FLAIR mismatch can be measured."""
        return "DWI" in self.masks and "FLAIR" in self.channels

    @property
    def has_perfusion(self) -> bool:
        """Whether the perfusion-diffusion mismatch can be measured."""
        return "DWI" in self.masks and ("PWI" in self.masks or "Tmax" in self.channels)


def find_roles(
    dataset_json: Mapping[str, Any], channels: Mapping[str, str] | None = None, masks: Mapping[str, str] | None = None
) -> Roles:
    """Finds channels and masks by name.

    One mask for all modalities is the DWI lesion where there is a DWI or ADC channel.

    Args:
        dataset_json: The dataset's.
        channels: The user's choice: name or number of a channel by role.
        masks: The user's choice: key of `lesion_labels`, name of a label, or labels such as `1,3` by role.

    Raises:
        UserError: The user's choice is not in the dataset.
    """
    names = channel_names(dict(dataset_json))
    numbers, targets = [(name, number) for number, name in names.items()], label_targets(dict(dataset_json))
    channel_roles = {role: number for role, words in CHANNELS.items() if (number := _first(numbers, words)) is not None}
    mask_roles = {role: labels for role, words in MASKS.items() if (labels := _first(targets.items(), words))}
    if not (dataset_json.get("mgcl") or {}).get("lesion_labels"):
        shared = sorted({label for labels in targets.values() for label in labels})
        mask_roles = {"DWI": shared} if _first(numbers, {"dwi", "adc", "b1000"}) is not None else {}
    for role, choice in (channels or {}).items():
        channel_roles[_known(role, CHANNELS, "--channels")] = _channel(names, choice)
    for role, choice in (masks or {}).items():
        mask_roles[_known(role, MASKS, "--masks")] = _mask(targets, choice)
    return Roles(channel_roles, mask_roles)


def _first(named: Iterable[tuple[str, Value]], words: set[str]) -> Value | None:
    """The first whose name has one of the words."""
    return next((value for name, value in named if words & {*re.split(r"[^a-z0-9]+", name.lower())}), None)


def _known(role: str, roles: Mapping[str, Any], option: str) -> str:
    if role not in roles:
        raise UserError(option, f"{role}=...", f"one of {', '.join(roles)} before the =", "correct the name")
    return role


def _channel(names: Mapping[int, str], choice: str) -> int:
    for number, name in names.items():
        if choice in (name, str(number)):
            return number
    raise UserError("--channels", choice, f"a channel: {names}", "correct the name or number")


def _mask(targets: Mapping[str, list[int]], choice: str) -> list[int]:
    if choice in targets:
        return targets[choice]
    try:
        return [integer(label) for label in choice.split(",")]
    except ValueError:
        raise UserError("--masks", choice, f"labels such as 1,3, or one of {list(targets)}", "correct it") from None
