"""Finds the raw images of the unlabelled pool, `imagesUn`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.system.errors import UserError, reason

PoolFiles = dict[str, dict[str, list[Path]]]
"""Modality -> case -> one file a channel, in the modality's order."""


def scan_pool(folder: Path, dataset_json: dict[str, Any], modalities: dict[str, list[int]]) -> PoolFiles:
    """Finds the cases of each modality in `imagesUn`. A case may have any subset of the modalities.

    Args:
        folder: Where the files `CASE_CCCC<file ending>` are.
        dataset_json: Content of `dataset.json`.
        modalities: Channels of each modality.

    Raises:
        UserError: There is no image, a file is not named so, or a case has a part of a modality's channels or
            different grids.
    """
    known = channel_names(dataset_json)
    paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    cases = channel_files(paths, dataset_json)
    for case, files in cases.items():
        path = next(iter(files.values()))
        if case.endswith("_seg"):  # nnU-Net's name of a case's mask
            raise UserError(
                path, f"the name {path.name}", "CASE_CCCC with no CASE ending in _seg", "rename or remove it"
            )
        if not _is_text(case):
            raise UserError(
                folder / ascii(path.name), "a name that is not UTF-8", "letters of any language", "rename it"
            )
    if not cases:  # rather a drive that is not mounted than a wish to forget the preprocessed pool
        remedy = "put the unlabelled images there, or remove the folder to train without them"
        raise UserError(folder, "no image", f"files CASE_CCCC{dataset_json['file_ending']}", remedy)

    pool: PoolFiles = {modality: {} for modality in modalities}
    for case, files in sorted(cases.items()):
        for modality, channels in modalities.items():
            missing = [channel for channel in channels if channel not in files]
            if len(missing) == len(channels):
                continue
            if missing:
                found = f"{modality} without channel {missing[0]} ({known[missing[0]]})"
                expected = f"all of its channels {channels}, or none"
                raise UserError(f"{folder}, case {case}", found, expected, "add the missing file or remove the others")
            pool[modality][case] = [files[channel] for channel in channels]
            check_grids(pool[modality][case], modality)
    return pool


def _is_text(name: str) -> bool:
    """Whether a file's name can be written down: Linux takes any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def channel_files(paths: Iterable[Path], dataset_json: dict[str, Any]) -> dict[str, dict[int, Path]]:
    """The file of each channel of each case, by the files' names.

    Raises:
        UserError: A file is not named `CASE_CCCC<file ending>`, is none, or has an unknown channel.
    """
    cases: dict[str, dict[int, Path]] = defaultdict(dict)
    known, ending = channel_names(dataset_json), dataset_json["file_ending"]
    pattern = re.compile(r"(.+)_(\d{4})" + re.escape(ending))
    for path in paths:
        match = pattern.fullmatch(path.name)
        if not match:
            expected = f"CASE_CCCC{ending} with a channel of four digits"
            raise UserError(path, f"the name {path.name}", expected, "rename or remove it")
        if not path.is_file():
            raise UserError(path, "a folder, or a link to nothing", "an image", "replace or remove it")
        if int(match[2]) not in known:
            raise UserError(path, f"channel {int(match[2])}", f"one of {known}", "remove it: no such channel here")
        cases[match[1]][int(match[2])] = path
    return cases


def check_grids(files: list[Path], of: str, *, place: bool = True) -> None:
    """Compares the headers of a case's channels.

    Args:
        files: Its images.
        of: What they are the channels of, for the message.
        place: Whether origin and direction count, of which nnU-Net only warns, or size and spacing alone.

    Raises:
        UserError: They differ, or a file cannot be read.
    """
    grids = [_grid(path)[: 4 if place else 2] for path in files] if len(files) > 1 else []
    for path, grid in zip(files[1:], grids[1:], strict=False):
        same_shape = [len(part) for part in grid] == [len(part) for part in grids[0]]
        if not same_shape or not all(np.allclose(*pair, atol=1e-3) for pair in zip(grid, grids[0], strict=True)):
            found = f"size, spacing{', origin and direction' * place} {grid}"
            remedy = f"resample the channels of {of} to one grid"
            raise UserError(path, found, f"those of {files[0].name}: {grids[0]}", remedy)


def _grid(path: Path) -> tuple[tuple[float, ...], ...]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UserError(path, f"cannot be read ({reason(error)})", "an image", "replace or remove the file") from None
    return reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()
