"""Preset + plans file -> new plans file."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from nnunet_mgcl.plan.plans import deep_merge, merged_configuration, resolve_block
from nnunet_mgcl.system.errors import UserError, suggestion
from nnunet_mgcl.system.files import read_json
from nnunet_mgcl.system.resources import plans_dir
from nnunet_mgcl.system.typed_json import MISSING, OpenModel, checked

SCHEMA = "mgcl.schema.json"
"""The file beside the presets that describes the block."""

PREPROCESSING_KEYS = ("spacing", "normalization_schemes", "use_mask_for_norm", "preprocessor_name")
"""With `resampling_*`: keys that change the preprocessed images, so that other images have to be made."""

OUTSIDE_BLOCK = "configuration."
"""Prefix of overrides that leave the `mgcl` block."""


class _Overlay(OpenModel):
    mgcl: dict[str, Any] = MISSING


class _Preset(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    description: str = ""
    configurations: dict[str, _Overlay]


def preset_names() -> list[str]:
    """The presets that come with the package."""
    return sorted(path.stem for path in plans_dir().glob("*.json") if path.name != SCHEMA)


def load_preset(name: str) -> dict[str, Any]:
    """Reads a preset: one overlay for each kind of configuration under `configurations`.

    Args:
        name: One of `preset_names()`, or the path of a file of one's own.

    Raises:
        UserError: There is no such preset, or it is malformed.
    """
    path = Path(name) if name.endswith(".json") else plans_dir() / f"{name}.json"
    if not name.endswith(".json") and name not in (known := preset_names()):
        raise UserError(f"preset {name}", "no such preset", f"one of {known}", suggestion(name, known))
    preset = read_json(path)
    checked(_Preset, preset, path, "compare with plans/short.json")
    return preset


def plain_configurations(plans: dict[str, Any]) -> list[str]:
    """The configurations that can be trained: all but cascades."""
    return [name for name in plans["configurations"] if not merged_configuration(plans, name).get("previous_stage")]


def apply_preset(
    plans: dict[str, Any],
    configurations: list[str],
    preset: dict[str, Any],
    overrides: dict[str, str],
    plans_name: str,
    dataset_json: dict[str, Any],
    tss_known: bool,
) -> dict[str, Any]:
    """Writes a preset and the user's overrides into some configurations of a plans file.

    Args:
        plans: Content of the plans file.
        configurations: The ones to change. One that the preset does not name takes its `2d` or `3d_fullres`.
        preset: From `load_preset`.
        overrides: `coarse.epochs` -> text, read as JSON where it is JSON. Paths start at the `mgcl` block, or, with
            the prefix `configuration.`, at the configuration.
        plans_name: Name of the new plans.
        dataset_json: Content of `dataset.json`, against which the result is checked.
        tss_known: Whether the dataset has a TSS table.

    Returns:
        The new plans, a deep copy.

    Raises:
        UserError: The preset or an override does not fit, or the result is wrong.
    """
    new = deepcopy(plans)
    new["plans_name"] = plans_name
    for name in configurations:
        before = merged_configuration(new, name)
        overlay = requested(new, name, preset, overrides)
        _check_keys(overlay, before, name)
        _fit_features(overlay, before, name)
        changed = _changed_parts(overlay, before)
        if any(key in PREPROCESSING_KEYS or key.startswith("resampling_") for key in changed):
            changed["data_identifier"] = f"{plans_name}_{name}"
        block = deep_merge(new["configurations"][name].get("mgcl", {}), overlay.get("mgcl", {}))
        new["configurations"][name] |= changed | ({"mgcl": block} if block else {})
        resolve_block(new, name, dataset_json, tss_known)
    return new


def requested(
    plans: dict[str, Any], configuration: str, preset: dict[str, Any], overrides: dict[str, str]
) -> dict[str, Any]:
    """What a preset and the user's overrides ask of a configuration, as an overlay of it; arguments as above."""
    dimensions, overlays = len(merged_configuration(plans, configuration)["patch_size"]), preset["configurations"]
    fallback = overlays.get("2d" if dimensions == 2 else "3d_fullres", {})
    return deep_merge(overlays.get(configuration, fallback), _nested(overrides))


def _nested(overrides: dict[str, str]) -> dict[str, Any]:
    """`{"coarse.epochs": "20"}` as an overlay of a configuration."""
    overlay: dict[str, Any] = {}
    for path, text in overrides.items():
        inside = path.removeprefix(OUTSIDE_BLOCK)
        keys = inside.split(".") if path.startswith(OUTSIDE_BLOCK) else ["mgcl", *path.split(".")]
        if not all(keys):
            raise UserError(f"--set {path}", "an empty key", "KEY=VALUE such as coarse.epochs=20", "mend the path")
        value = _parsed(text)
        for key in reversed(keys):
            value = {key: value}
        overlay = deep_merge(overlay, value)
    return overlay


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # text; also a number of thousands of digits
        return text


def _fit_features(overlay: dict[str, Any], before: dict[str, Any], configuration: str) -> None:
    """Cuts a preset's list of feature maps to the depth of the plan's network."""
    arguments = overlay.get("architecture", {}).get("arch_kwargs", {})
    features = arguments.get("features_per_stage") if isinstance(arguments, dict) else None
    stages = before.get("architecture", {}).get("arch_kwargs", {}).get("n_stages")
    if not isinstance(features, list) or stages is None:  # another architecture, which says what it does not take
        return
    if len(features) < stages:
        where = f"configurations.{configuration}.architecture.arch_kwargs.features_per_stage"
        expected = f"at least {stages}, one for each stage of the plan's network"
        raise UserError(where, f"{len(features)} numbers", expected, "add numbers")
    arguments["features_per_stage"] = features[:stages]


def _check_keys(overlay: dict[str, Any], before: dict[str, Any], configuration: str) -> None:
    """Refuses keys and types that nnU-Net's configuration does not have: it checks neither."""
    for key, value in overlay.items():
        where = f"configurations.{configuration}.{key}"
        if key == "mgcl":
            continue
        if key not in before:
            raise UserError(where, "an unknown key", "a key of the plan", suggestion(key, before))
        if _kind(value) != _kind(before[key]):
            raise UserError(where, json.dumps(value), f"{_kind(before[key])} like {before[key]!r}", "mend the value")


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}
    return kinds.get(type(value), "an object")


def _changed_parts(overlay: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The overlay's keys outside the block, whole (nnU-Net inherits only whole keys), where they change anything."""
    merged = deep_merge(before, overlay)
    return {key: merged[key] for key in overlay if key != "mgcl" and merged[key] != before[key]}
