"""Compares a preprocessed pool with its raw files: what is up to date, what has to be done."""

from __future__ import annotations

from collections.abc import Container
from functools import cache
from pathlib import Path
from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_mgcl.data.cases.modality_dataset import open_case
from nnunet_mgcl.data.pool.manifest import SUFFIXES, Manifest
from nnunet_mgcl.data.pool.older_manifest import FileEntry
from nnunet_mgcl.system.files import file_sha256, make_folder

Described = dict[str, list[FileEntry]]
"""Case -> its raw files, described for `Manifest.add`."""


def up_to_date(
    manifest: Manifest, modality: str, plan: dict[str, Any], files: dict[str, list[Path]], held_out: Container[str]
) -> tuple[Described, Described]:
    """Which cases are preprocessed as their raw files now are, and which are not; both described.

    What has been learned of the former (another time of change, the number of slices) is noted.

    Args:
        manifest: The pool's.
        modality: The modality.
        plan: The plan entries that it is preprocessed with.
        files: Its raw files of each case.
        held_out: Hashes of voxels that no pool case may have.
    """
    fits = manifest.plan(modality) == plan
    entries, slices = (manifest.entries(modality), manifest.slices(modality)) if fits else ({}, {})
    kept: Described = {}
    rest: Described = {}
    for case, paths in files.items():
        known = entries.get(case, [])
        described = _describe(paths, known)
        same = _hashes(described) == _hashes(known) and all(
            "voxels" in file and file["voxels"] not in held_out for file in described
        )
        depth = _slices(manifest.pool / modality, case, len(plan["channels"])) if same else None
        (rest if depth is None else kept)[case] = described
        if depth is not None and manifest.writes and (described != known or depth != slices[case]):
            manifest.add(modality, case, described, depth)
    return kept, rest


def forget_others(manifest: Manifest, modality: str, plan: dict[str, Any], kept: Container[str]) -> None:
    """Forgets and deletes every case that is not kept, and files that nobody lists."""
    folder = manifest.pool / modality
    if manifest.plan(modality) != plan:
        manifest.begin(modality, plan)
    manifest.forget(modality, [case for case in manifest.cases(modality) if case not in kept])
    # Forgotten before deleted: a run killed here leaves files that nobody lists, never the reverse.
    manifest.save()
    make_folder(folder)
    wanted = {f"{case}{suffix}" for case in manifest.cases(modality) for suffix in SUFFIXES}
    for path in folder.iterdir():
        if path.name not in wanted and (path.is_symlink() or not path.is_dir()):  # a folder is none of ours
            path.unlink()


def _slices(folder: Path, case: str, channels: int) -> int | None:
    """Slices of a case, whose files are opened without reading a voxel; None: they are damaged."""
    try:
        data, _ = open_case(nnUNetDatasetBlosc2(str(folder), [case]), case)
    except Exception:  # blosc2's, NumPy's, pickle's and the operating system's
        return None
    return int(data.shape[1]) if data.shape[0] == channels else None


def _describe(paths: list[Path], known: list[FileEntry]) -> list[FileEntry]:
    """Describes raw files; hashes are taken over where name, size and time are as known, or the file's hash is."""
    before = {entry["name"]: entry for entry in known}
    described = []
    for path in paths:
        status, earlier = path.stat(), before.get(path.name, {})
        entry: FileEntry = {"name": path.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
        if not entry.items() <= earlier.items():
            entry["sha256"] = _sha256(path, status.st_size, status.st_mtime_ns)
            if entry["sha256"] != earlier.get("sha256"):
                earlier = {}
        described.append(earlier | entry)
    return described


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Read once a run, although a part compares it with two manifests."""
    return file_sha256(path)


def _hashes(entries: list[FileEntry]) -> list[tuple[str, str]]:
    return [(entry["name"], entry["sha256"]) for entry in entries]
