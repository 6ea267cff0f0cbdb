"""What the blocks of older versions lack, and what a plan leaves to the folds that are trained already."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from nnunet_mgcl.plan.config import Older

Block = dict[str, Any]


def filled(block: Block, model: type[BaseModel]) -> Block:
    """A resolved `mgcl` block of any version, with what that version did where it lacks a key.

    Args:
        block: The block, as some version wrote it into a plans.json.
        model: What describes it; keys that it does not know stay.

    Returns:
        A deep copy. A key that is missing and not marked `Older` stays missing: validation gives it its default.
    """
    result = deepcopy(block)
    for name, mark, inner in _fields(model):
        if mark is not None and name not in result:
            result[name] = deepcopy(mark.value)
        if inner is not None and isinstance(result.setdefault(name, {}), dict):
            result[name] = filled(result[name], inner)
    return result


def followed(block: Block, earlier: Block, model: type[BaseModel]) -> Block:
    """A plan's block in which the marked keys that it leaves open are those of the folds trained before.

    So neither a new key nor the new default of an old one keeps `--c` or a further fold out of a results folder.

    Args:
        block: The plan's own, unresolved block.
        earlier: That of the results folder, as `filled` returns it.
        model: What describes them.

    Returns:
        A deep copy of `block` with the keys added.
    """
    result = deepcopy(block)
    for name, mark, inner in _fields(model):
        if mark is not None and name not in result and name in earlier:
            result[name] = deepcopy(earlier[name])
        elif inner is not None and isinstance(result.get(name, {}), dict) and isinstance(earlier.get(name), dict):
            result[name] = followed(result.get(name, {}), earlier[name], inner)
    return result


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Older | None, type[BaseModel] | None]]:
    """Name, mark and, of a block within the block, model of each key."""
    for name, field in model.model_fields.items():
        mark = next((mark for mark in field.metadata if isinstance(mark, Older)), None)
        kind: Any = field.annotation
        yield name, mark, kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
