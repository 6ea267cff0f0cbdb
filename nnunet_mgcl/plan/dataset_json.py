"""Reads `dataset.json`: nnU-Net's keys, and the block `mgcl` in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, field_validator, model_validator

from nnunet_mgcl.system.errors import reason
from nnunet_mgcl.system.files import read_json
from nnunet_mgcl.system.typed_json import OpenModel, checked

BOTH_COPIES = "dataset.json (in nnUNet_raw, and its copy in nnUNet_preprocessed)"
"""What a message calls the file where its content came from nnU-Net: a mistake in one copy is in both."""

REMEDY = "mend the file, and its copy in nnUNet_preprocessed"
MAX_LABEL = 2**16 - 1


def _label(value: Any) -> Any:
    """A label, or a region as the list of its labels."""
    own = value if isinstance(value, list | tuple) else [value]
    if not own or not all(type(label) is int and 0 <= label <= MAX_LABEL for label in own):
        raise ValueError(f"a whole number from 0 to {MAX_LABEL}, or a list of some")
    return value


class Grouping(BaseModel):
    """`mgcl` of `dataset.json`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    modalities: dict[str, list[int]] | None = None
    lesion_labels: dict[str, list[int]] | None = None
    missing: dict[str, list[str]] | None = None


class DatasetJson(OpenModel):
    """What this package and nnU-Net read of the file; `modality` is nnU-Net's older name of `channel_names`."""

    channel_names: Annotated[dict[str, str], Field(min_length=1)] | None = None
    modality: Annotated[dict[str, str], Field(min_length=1)] | None = None
    labels: dict[str, Annotated[Any, PlainValidator(_label)]]
    file_ending: Annotated[str, Field(pattern=r"^\.[^/\\]+$")]
    regions_class_order: list[int] | None = None
    mgcl: Grouping | None = None
    mgcl_convert: dict[str, Any] | None = None

    @field_validator("channel_names", "modality")
    @classmethod
    def _numbered(cls, names: dict[str, str] | None) -> dict[str, str] | None:
        if names and set(names) != {str(number) for number in range(len(names))}:
            raise ValueError('an object with the keys "0", "1", ...: a name for each channel')
        return names

    @field_validator("labels")
    @classmethod
    def _with_background(cls, labels: dict[str, Any]) -> dict[str, Any]:
        if labels.get("background") != 0:
            raise ValueError('an object with "background": 0, and a number or a region for each other name')
        return labels

    @model_validator(mode="after")
    def _as_nnunet(self) -> DatasetJson:
        from nnunetv2.utilities.label_handling.label_handling import LabelManager  # with torch

        if not (self.channel_names or self.modality):
            raise ValueError("the key channel_names")
        try:
            LabelManager(self.labels, self.regions_class_order)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"labels and regions_class_order as nnU-Net takes them ({reason(error)})") from None
        return self


def read_dataset_json(path: Path) -> dict[str, Any]:
    """The file's content as it is, once it is checked.

    Raises:
        UserError: It is missing, no JSON, or a key is missing or wrong.
    """
    content = read_json(path)
    check_dataset_json(content, path)
    return content


def check_dataset_json(content: Any, where: object = BOTH_COPIES) -> DatasetJson:
    """Checks a content that was read before.

    Raises:
        UserError: A key is missing or wrong.
    """
    return checked(DatasetJson, content, where, REMEDY)


def channel_names(dataset_json: dict[str, Any]) -> dict[int, str]:
    """Channel number to name, in order of the numbers (`modality` is nnU-Net's older key)."""
    names = dataset_json.get("channel_names") or dataset_json["modality"]
    return {int(number): names[number] for number in sorted(names, key=int)}


def label_targets(dataset_json: dict[str, Any]) -> dict[str, list[int]]:
    """The labels that make up each target: a modality's lesion where there are such, else a label or region."""
    if by_modality := (dataset_json.get("mgcl") or {}).get("lesion_labels"):
        return dict(by_modality)
    labels = {name: value for name, value in dataset_json["labels"].items() if name not in ("background", "ignore")}
    return {name: list(value) if isinstance(value, list | tuple) else [value] for name, value in labels.items()}
