"""Checks the content of a JSON file against a pydantic model; a mistake is one message with the key's path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from nnunet_mgcl.system.errors import UserError, suggestion
from nnunet_mgcl.system.files import read_json

Model = TypeVar("Model", bound=BaseModel)
Kind = TypeVar("Kind")


MISSING: Any = None
"""The value of a key that a file may lack, but not hold as null."""


class OpenModel(BaseModel):
    """The keys of a file of nnU-Net's that this package reads: other keys pass, whatever they hold."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


def read_typed(kind: type[Kind], path: Path, remedy: str) -> Kind:
    """Reads a JSON file that this package or nnU-Net has written, and checks what it holds.

    Args:
        kind: Its type, as in `dict[str, float]`, or a dataclass; of an object with other keys as well, an `OpenModel`.
        path: The file.
        remedy: What the user can do about a wrong one.

    Raises:
        UserError: It is missing, no JSON, or a value is wrong.
    """
    content = read_json(path)
    try:
        return TypeAdapter(kind).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise first_mistake(error, OpenModel, content, path, remedy) from None


def checked(model: type[Model], content: Any, where: object, remedy: str, separator: str = ": ") -> Model:
    """The content as a model.

    Args:
        model: What describes it.
        content: As it was read.
        where: The file, or the key in which it lies.
        remedy: What the user can do about a wrong value.
        separator: What stands between `where` and the key's path.

    Raises:
        UserError: The content does not fit; the first mistake.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise first_mistake(error, model, content, where, remedy, separator) from None


def first_mistake(
    error: ValidationError, model: type[BaseModel], content: Any, where: object, remedy: str, separator: str = ": "
) -> UserError:
    """The first mistake that pydantic has found, as a message; arguments as of `checked`."""
    first = error.errors(include_url=False)[0]
    path = key_path(error, content)
    key = separator.join([str(where), ".".join(path)]) if path else str(where)
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, path[:-1])
        return UserError(key, f"unknown key {path[-1]!r}", f"one of {known}", suggestion(path[-1], known))
    if first["type"] == "missing":
        return UserError(key, "no such key", "a value", remedy)
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if first["type"] == "model_type":
        expected = "an object"
    return UserError(key, _shown(first["input"]), expected, remedy)


def key_path(error: ValidationError, content: Any) -> list[str]:
    """The path of the first mistake's key, without the names that pydantic gives to what is no key."""
    path = []
    for part in error.errors(include_url=False)[0]["loc"]:
        there = part in content if isinstance(content, dict) else isinstance(content, list) and isinstance(part, int)
        if there:
            content = content[part]
        elif not isinstance(content, dict):
            continue
        path.append(str(part))
    return path


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        kind: Any = model.model_fields[part].annotation
        model = kind if isinstance(kind, type) else next(k for k in kind.__args__ if isinstance(k, type))
    return list(model.model_fields)
