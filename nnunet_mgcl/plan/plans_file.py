"""Reads a plans file of nnU-Net, and checks what this package and nnU-Net read of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

import nnunetv2
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from pydantic import AfterValidator, Field, model_validator

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import read_json
from nnunet_mgcl.system.names import is_name
from nnunet_mgcl.system.typed_json import MISSING, OpenModel, checked

INTENSITIES = "foreground_intensity_properties_per_channel"
OLDER_INTENSITIES = "foreground_intensity_properties_by_modality"

REMEDY = "mend the file, or plan the dataset again (nnUNetv2_plan_experiment)"


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("the name of a file or folder, without a path")
    return text


@cache
def _is_found(module: str, name: str) -> bool:
    folder = Path(nnunetv2.__path__[0], *module.split(".")[1:])
    return recursive_find_python_class(str(folder), name, current_module=module) is not None


def _in_nnunet(*folder: str) -> AfterValidator:
    """Takes the names that nnU-Net itself would find in a folder of its package."""
    module = ".".join(["nnunetv2", *folder])

    def check(name: str) -> str:
        if not _is_found(module, name):
            raise ValueError(f"a name that nnU-Net finds in {module}")
        return name

    return AfterValidator(check)


Name = Annotated[str, AfterValidator(_name)]
Size = Annotated[int, Field(ge=1, lt=2**31)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Preprocessor = Annotated[str, _in_nnunet("preprocessing")]
Normalization = Annotated[str, _in_nnunet("preprocessing", "normalization")]
Resampling = Annotated[str, _in_nnunet("preprocessing", "resampling")]
Reader = Annotated[str, _in_nnunet("imageio")]
Labels = Annotated[str, _in_nnunet("utilities", "label_handling")]


class Arguments(OpenModel):
    """`architecture.arch_kwargs`: what U-Nets are asked for; other architectures may lack it."""

    n_stages: Annotated[int, Field(ge=1, le=100)] | None = None
    strides: list[list[Size] | Size] | None = None
    features_per_stage: list[Size] | Size | None = None


class Architecture(OpenModel):
    """`architecture`."""

    network_class_name: str
    arch_kwargs: Arguments
    kw_requires_import: list[str] = Field(alias="_kw_requires_import")


class Configuration(OpenModel):
    """One entry of `configurations`, of which a chain of parents may hold any part."""

    inherits_from: str = MISSING
    previous_stage: str | None = None
    data_identifier: Name = MISSING
    preprocessor_name: Preprocessor = MISSING
    batch_size: Size = MISSING
    patch_size: Annotated[list[Size], Field(min_length=2, max_length=3)] = MISSING
    spacing: Annotated[list[Length], Field(min_length=2, max_length=3)] = MISSING
    normalization_schemes: list[Normalization] = MISSING
    use_mask_for_norm: list[bool] = MISSING
    batch_dice: bool = MISSING
    resampling_fn_data: Resampling = MISSING
    resampling_fn_data_kwargs: dict[str, Any] = MISSING
    resampling_fn_seg: Resampling = MISSING
    resampling_fn_seg_kwargs: dict[str, Any] = MISSING
    resampling_fn_probabilities: Resampling = MISSING
    resampling_fn_probabilities_kwargs: dict[str, Any] = MISSING
    architecture: Architecture = MISSING
    mgcl: dict[str, Any] = MISSING


REQUIRED = sorted(Configuration.model_fields.keys() - {"inherits_from", "previous_stage", "architecture", "mgcl"})
"""Keys that a configuration has once its parents' are added."""


class PlansFile(OpenModel):
    """The whole file."""

    dataset_name: Annotated[Name, Field(pattern=r"^Dataset\d{3}")]
    plans_name: Name
    image_reader_writer: Reader
    label_manager: Labels | None = None
    transpose_forward: list[int]
    transpose_backward: list[int]
    original_median_spacing_after_transp: Annotated[list[Length], Field(min_length=1)] = MISSING
    original_median_shape_after_transp: Annotated[list[Length], Field(min_length=1)]
    foreground_intensity_properties_per_channel: dict[str, dict[str, Any]] | None = None
    foreground_intensity_properties_by_modality: dict[str, dict[str, Any]] | None = None
    experiment_planner_used: str | None = None
    configurations: Annotated[dict[str, Configuration], Field(min_length=1)]

    @model_validator(mode="after")
    def _turns_axes(self) -> PlansFile:
        for axes in (self.transpose_forward, self.transpose_backward):
            if sorted(axes) != [0, 1, 2]:
                raise ValueError("transpose_forward and transpose_backward with 0, 1 and 2 in some order")
        return self


def read_plans(path: Path) -> dict[str, Any]:
    """The file's content as it is, once it is checked.

    Raises:
        UserError: It is missing, no JSON, or a key is missing or wrong.
    """
    content = read_json(path)
    checked(PlansFile, content, path, REMEDY)
    return content


def check_complete(resolved: dict[str, Any], where: str) -> None:
    """Checks a configuration to which its parents' keys are added.

    Args:
        resolved: Its content.
        where: What a message calls it.

    Raises:
        UserError: A key is missing or wrong.
    """
    checked(Configuration, resolved, where, REMEDY, ".")
    architecture = {"architecture", "UNet_class_name"} & resolved.keys()  # the latter is nnU-Net's older name
    if missing := [key for key in REQUIRED if key not in resolved] + ["architecture"] * (not architecture):
        raise UserError(f"{where}.{missing[0]}", "no such key", "a value", REMEDY)
    if len(resolved["spacing"]) != len(resolved["patch_size"]):
        found, expected = f"{len(resolved['spacing'])} values", f"{len(resolved['patch_size'])}, as patch_size"
        raise UserError(f"{where}.spacing", found, expected, REMEDY)


def check_channels(plans: dict[str, Any], resolved: dict[str, Any], name: str, channels: int) -> None:
    """Checks that a plan says for each channel of a dataset how to normalise it.

    Args:
        plans: Content of the plans file.
        resolved: That of one of its configurations, complete.
        name: Its name.
        channels: Of the dataset.

    Raises:
        UserError: It does not.
    """
    for key in ("normalization_schemes", "use_mask_for_norm"):
        if len(resolved[key]) < channels:
            found, expected = f"{len(resolved[key])} values", f"{channels}, one a channel"
            raise UserError(f"configurations.{name}.{key}", found, expected, REMEDY)
    known = plans.get(INTENSITIES) or plans.get(OLDER_INTENSITIES) or {}
    if missing := sorted({str(channel) for channel in range(channels)} - known.keys()):
        raise UserError(INTENSITIES, f"no channel {missing[0]}", f"an entry for each of {channels} channels", REMEDY)
