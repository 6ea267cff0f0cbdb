"""The manifest of a preprocessed pool: the only truth about it.

A case that the manifest does not list does not exist, whatever files a killed run has left.
"""

from __future__ import annotations

from collections.abc import Container
from copy import deepcopy
from pathlib import Path
from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from pydantic import Field

from nnunet_mgcl.data.cases.modality_dataset import open_case
from nnunet_mgcl.system.errors import UserError, reason
from nnunet_mgcl.system.files import file_sha256, is_there, make_folder, read_json, write_json
from nnunet_mgcl.system.typed_json import MISSING, OpenModel, checked

MANIFEST = "manifest.json"
SUFFIXES = (".b2nd", "_seg.b2nd", ".pkl")
"""The files of one case, as nnU-Net writes them."""

SAVE_EVERY = 20
"""Files between two saves of the manifest: what a killed run loses at most."""

FileEntry = dict[str, Any]
"""Name, size, time of change and SHA-256 of a raw file; once it was read, the SHA-256 of its voxels too."""


class _Entry(OpenModel):
    name: str
    size: int = MISSING
    mtime_ns: int = MISSING
    sha256: str
    voxels: str = MISSING


class _Modality(OpenModel):
    plan: dict[str, Any]
    cases: dict[str, list[_Entry]]


class _Labelled(OpenModel):
    size: int = MISSING
    mtime_ns: int = MISSING
    voxels: list[str]


class _Content(OpenModel):
    modalities: dict[str, _Modality] = Field(default_factory=dict)
    labelled: dict[str, _Labelled] = Field(default_factory=dict)


class Manifest:
    """Which cases of a pool are preprocessed, from which raw files and with which plan entries.

    Attributes:
        pool: The folder of the preprocessed pool; each modality has a folder in it.
        modalities: Modality -> `plan` (its entries) and `cases` (case -> one entry a raw file).
        labelled: Raw image of a validation case, as a path below the raw dataset -> its entry (see `pool_duplicates`).

    Raises:
        UserError: `manifest.json` is not what `save` writes.
    """

    def __init__(self, pool: Path) -> None:
        self.pool = pool
        path = pool / MANIFEST
        content = read_json(path) if is_there(pool, "folder") and is_there(path) else {}
        checked(_Content, content, path, "remove the folder: mgcl prepare preprocesses the pool again")
        self.modalities: dict[str, Any] = content.get("modalities", {})
        self.labelled: dict[str, FileEntry] = content.get("labelled", {})
        self._saved = deepcopy(content)

    def save(self) -> None:
        """Writes `manifest.json` where anything has changed.

        A finished pool may lie in a read-only folder; there, what is only remembered to save time is forgotten.
        """
        content = {"modalities": self.modalities, "labelled": self.labelled}
        if content == self._saved:
            return
        try:
            write_json(self.pool / MANIFEST, content)
        except (UserError, OSError):
            if _listed(content) != _listed(self._saved):
                raise
        self._saved = deepcopy(content)

    def cases(self, modality: str) -> dict[str, list[FileEntry]]:
        """The preprocessed cases of a modality."""
        return self.modalities.get(modality, {}).get("cases", {})

    def hashes(self, modality: str) -> dict[str, list[str]]:
        """Case -> hashes of its raw files: what a training that has read the pool depends on."""
        return {case: [entry["sha256"] for entry in files] for case, files in self.cases(modality).items()}

    def fits(self, modality: str, plan: dict[str, Any]) -> bool:
        """Whether the modality was preprocessed with these plan entries."""
        return modality in self.modalities and self.modalities[modality]["plan"] == plan

    def damage(self, modality: str, case: str) -> str | None:
        """Why a listed case cannot be used; None: it can. Its files are opened, no voxel is read."""
        folder, channels = str(self.pool / modality), len(self.modalities[modality]["plan"]["channels"])
        try:
            data, _ = open_case(nnUNetDatasetBlosc2(folder, [case]), case)
        except Exception as error:  # blosc2's, NumPy's, pickle's and the operating system's
            return f"cannot be read ({reason(error)})"
        return None if data.shape[0] == channels else f"{data.shape[0]} channels instead of {channels}"

    def refresh(
        self, modality: str, plan: dict[str, Any], files: dict[str, list[Path]], held_out: Container[str]
    ) -> dict[str, list[FileEntry]]:
        """Keeps the cases that are up to date, and forgets and deletes everything else.

        Args:
            modality: The modality.
            plan: The plan entries that it is preprocessed with.
            files: Its raw files of each case.
            held_out: Hashes of voxels that no pool case may have.

        Returns:
            The cases to preprocess, described for `add`.
        """
        folder = self.pool / modality
        entries = self.cases(modality) if self.fits(modality, plan) else {}
        described = {case: _describe(paths, entries.get(case, [])) for case, paths in files.items()}
        kept = {
            case: files
            for case, files in described.items()
            if _hashes(files) == _hashes(entries.get(case, []))
            and all("voxels" in file and file["voxels"] not in held_out for file in files)
            and self.damage(modality, case) is None
        }
        self.modalities[modality] = {"plan": plan, "cases": kept}
        # Forgotten before deleted: a run killed here leaves files that nobody lists, never the reverse.
        self.save()
        make_folder(folder)
        wanted = {f"{case}{suffix}" for case in kept for suffix in SUFFIXES}
        for path in folder.iterdir():
            if path.name not in wanted and (path.is_symlink() or not path.is_dir()):  # a folder is none of ours
                path.unlink()
        return {case: entry for case, entry in described.items() if case not in kept}

    def add(self, modality: str, case: str, described: list[FileEntry], voxels: list[str]) -> None:
        """Lists a case whose files are written."""
        entries = [entry | {"voxels": digest} for entry, digest in zip(described, voxels, strict=True)]
        self.modalities[modality]["cases"][case] = entries


def _describe(paths: list[Path], known: list[FileEntry]) -> list[FileEntry]:
    """Describes raw files; hashes are taken over where name, size and time are as known, or the file's hash is."""
    before = {entry["name"]: entry for entry in known}
    described = []
    for path in paths:
        status, earlier = path.stat(), before.get(path.name, {})
        entry: FileEntry = {"name": path.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
        if not entry.items() <= earlier.items():
            entry["sha256"] = file_sha256(path)
            if entry["sha256"] != earlier.get("sha256"):
                earlier = {}
        described.append(earlier | entry)
    return described


def _listed(content: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says about the cases, without what it remembers to save time."""
    return {
        modality: (entry["plan"], {case: _hashes(entries) for case, entries in entry["cases"].items()})
        for modality, entry in content.get("modalities", {}).items()
    }


def _hashes(entries: list[FileEntry]) -> list[tuple[str, str]]:
    return [(entry["name"], entry["sha256"]) for entry in entries]
