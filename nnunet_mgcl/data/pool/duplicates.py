"""Finds labelled validation images among the unlabelled pool, whatever the file is called and however it was written.

The pool is shared by all folds, so it is compared with the images of every case that any fold validates on. Compared
are shape and float32 voxels, as the plan's reader gives them: byte-identical files are equal in these too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets
from rich.progress import track

from nnunet_mgcl.data.images.files import read_images
from nnunet_mgcl.data.images.voxel_hashes import voxel_hashes
from nnunet_mgcl.data.pool.manifest import SAVE_EVERY, Manifest
from nnunet_mgcl.data.pool.older_manifest import FileEntry
from nnunet_mgcl.data.splits import Split
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there

HeldOut = dict[str, str]
"""Hash of the voxels of a validation image -> the image and its folds, in words."""


@dataclass(frozen=True)
class HeldOutImages:
    """The raw images of the validation cases, by their paths below the raw dataset.

    Attributes:
        raw: The raw dataset.
        reader: nnU-Net's reader of the plan.
        paths: Where each is.
        owners: The case and folds of each, in words.
        described: Size, time of change and reader of each: where nothing of it differs, they need not be read again.
    """

    raw: Path
    reader: type[BaseReaderWriter]
    paths: dict[str, Path]
    owners: dict[str, str]
    described: dict[str, FileEntry]

    @property
    def digest(self) -> str:
        """A hash of what the pool is compared with, by the files' sizes and times."""
        return hashlib.sha256(json.dumps(self.described, sort_keys=True).encode()).hexdigest()


def refuse_duplicate(files: Sequence[Path], voxels: Sequence[str], held_out: HeldOut) -> None:
    """Refuses a pool case of which one file is a validation image.

    Raises:
        UserError: One is.
    """
    for path, digest in zip(files, voxels, strict=True):
        if digest in held_out:
            expected = "no image of a validation case: the fold would train on what it is validated with"
            remedy = "remove this pool case from imagesUn"
            raise UserError(path, f"the same image as {held_out[digest]}", expected, remedy)


def held_out_voxels(
    images: HeldOutImages, manifest: Manifest, also_known: dict[str, FileEntry],
    num_threads: int, log: Callable[[str], None], progress: bool,
) -> HeldOut:  # fmt: skip
    """The voxels of every raw image of every validation case; only files that no manifest knows are read.

    Args:
        images: From `held_out_images`.
        manifest: The pool's manifest, which remembers the hashes.
        also_known: What another manifest remembers.
        num_threads: Images that are read at once.
        log: Takes one line for the user.
        progress: Whether to show a progress bar.

    Raises:
        UserError: An image cannot be read.
    """
    noted = manifest.labelled()
    known = {_key(Path(path), images.raw): entry for path, entry in (also_known | noted).items()}
    entries = {
        key: known[key]
        for key, described in images.described.items()
        if described.items() <= known.get(key, {}).items()
    }
    if manifest.writes:
        for path in noted.keys() - entries.keys():
            manifest.note_labelled(path, None)
        for path in entries.keys() - noted.keys():
            manifest.note_labelled(path, entries[path])
        manifest.save()
    if stale := [key for key in images.described if key not in entries]:
        log(f"Unlabelled pool: compared with {len(images.described)} images of validation cases, {len(stale)} to read")
        paths = [images.paths[key] for key in stale]
        # Readers and hashes leave Python's lock: threads do, and start at once.
        threads = ThreadPoolExecutor(max(1, num_threads))
        try:
            read = track(threads.map(partial(_read, images.reader), paths), "Reading", len(stale), disable=not progress)
            for number, (key, entry) in enumerate(zip(stale, read, strict=True)):
                entries[key] = entry
                if manifest.writes:
                    manifest.note_labelled(key, entry)
                    if number % SAVE_EVERY == 0:
                        manifest.save()
        finally:
            threads.shutdown(cancel_futures=True)
            manifest.save()
    return {
        digest: f"{images.paths[key]}, {owner}" for key, owner in images.owners.items()
        for digest in entries[key]["voxels"]
    }  # fmt: skip


def _key(path: Path, raw: Path) -> str:
    """An image's path below the raw dataset, which may move; earlier versions noted where the dataset then was."""
    parts = path.parts
    if path.is_absolute() and raw.name in parts:
        return Path(*parts[len(parts) - parts[::-1].index(raw.name) :]).as_posix()
    return path.as_posix()


def held_out_images(
    raw: Path, plans: dict[str, Any], dataset_json: dict[str, Any], splits: list[Split], log: Callable[[str], None]
) -> HeldOutImages:
    """Finds the raw images of every validation case, and opens none.

    Args:
        raw: The raw dataset.
        plans: Content of the plans file; its reader reads the images.
        dataset_json: Content of `dataset.json`.
        splits: The cross-validation split.
        log: Takes one line for the user.
    """
    folds = defaultdict(list)
    for fold, split in enumerate(splits):
        for case in split["val"]:
            folds[case].append(str(fold))
    listed = _raw_images(raw, dataset_json, sorted(folds))
    present = {case: [path for path in paths if is_there(path)] for case, paths in listed.items()}
    if missing := [case for case in sorted(folds) if not present.get(case)]:
        log(f"Unlabelled pool: not compared with {len(missing)} validation cases without raw images, e.g. {missing[0]}")
    found = {
        path: f"case {case}, validated in fold {', '.join(folds[case])}"
        for case, paths in present.items()
        for path in paths
    }
    reader = PlansManager(plans).image_reader_writer_class
    return HeldOutImages(
        raw, reader, {_key(path, raw): path for path in found}, {_key(path, raw): own for path, own in found.items()},
        {_key(path, raw): _described(path, reader) for path in found},
    )  # fmt: skip


def _raw_images(raw: Path, dataset_json: dict[str, Any], cases: list[str]) -> dict[str, list[Path]]:
    """The images of labelled cases, listed as nnU-Net lists them."""
    if "dataset" in dataset_json:  # a copy, because nnU-Net writes into it
        listed = get_filenames_of_train_images_and_targets(str(raw), deepcopy(dataset_json))
        return {case: [Path(path) for path in listed[case]["images"]] for case in cases if case in listed}
    # nnU-Net's function would start twelve processes, beside a GPU that is already in use.
    pattern, found = re.compile("(.+)_[0-9]{4}" + re.escape(dataset_json["file_ending"])), defaultdict(list)
    images = raw / "imagesTr"
    for path in sorted(images.iterdir()) if is_there(images, "folder") else ():
        if match := pattern.fullmatch(path.name):
            found[match[1]].append(path)
    return {case: found[case] for case in cases}


def _described(path: Path, reader: type[BaseReaderWriter]) -> FileEntry:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "reader": reader.__name__}


def _read(reader: type[BaseReaderWriter], path: Path) -> FileEntry:
    entry = _described(path, reader)
    return entry | {"voxels": voxel_hashes(read_images(reader, [path], "restore the file")[0])}
