"""The manifest of earlier versions: one JSON file, which is read once and stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from nnunet_mgcl.system.files import is_there, read_json
from nnunet_mgcl.system.typed_json import MISSING, OpenModel, checked

OLDER = "manifest.json"

FileEntry = dict[str, Any]
"""Name, size, time of change and SHA-256 of a raw file; once it was read, the SHA-256 of its voxels too."""


class Entry(OpenModel):
    """A `FileEntry`."""

    name: str
    size: int = MISSING
    mtime_ns: int = MISSING
    sha256: str
    voxels: str = MISSING


class _Modality(OpenModel):
    plan: dict[str, Any]
    cases: dict[str, list[Entry]]


class _Labelled(OpenModel):
    size: int = MISSING
    mtime_ns: int = MISSING
    voxels: list[str]


class _Content(OpenModel):
    modalities: dict[str, _Modality] = Field(default_factory=dict)
    labelled: dict[str, _Labelled] = Field(default_factory=dict)


def read_older(pool: Path) -> dict[str, Any]:
    """Its content, where there is one: `modalities`, each with `plan` and `cases`, and `labelled`.

    Raises:
        UserError: The file is none that an earlier version has written.
    """
    path = pool / OLDER
    content: dict[str, Any] = read_json(path) if is_there(pool, "folder") and is_there(path) else {}
    checked(_Content, content, path, "remove the folder: mgcl prepare preprocesses the pool again")
    return content
