"""The images to predict, checked before a worker process trips over them."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunet_mgcl.data.images.checks import NIFTI, image_mistake, truncation
from nnunet_mgcl.data.pool.scan import check_grids
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.system.errors import UserError, reason, some
from nnunet_mgcl.system.workers import default_processes

ALL_IN_ONE = ("NaturalImage2DIO",)
"""nnU-Net's readers that may find all channels in one file."""
AS_STORED = ("SimpleITKIO", "NibabelIO")
"""Those that ask for one size and spacing, which the headers tell."""

_MAKE = "mgcl convert --test makes such files of raw scans (docs/convert.md); or check -i"

Cases = dict[str, list[Path]]
"""Case -> its files in the order of their channels."""


def require_images(folder: Path, dataset_json: dict[str, Any], reader: str) -> None:
    """Checks that every case has a file for each channel that the model was trained on, and no other.

    nnU-Net counts a case's files and never reads their channel numbers: 0001 and 0002 would pass for 0000 and 0001.

    Args:
        folder: Where the files `CASE_CCCC<file ending>` are.
        dataset_json: The model's.
        reader: Name of the class that reads the images.

    Raises:
        UserError: There is no image, a file is not named so, a case's channels are others or of several grids, or a
            file is truncated or has no geometry.
    """
    ending, known = dataset_json["file_ending"], channel_names(dataset_json)
    fitting = [sorted(known), [0]] if reader in ALL_IN_ONE else [sorted(known)]
    cases = find_images(folder, ending)
    for case, files in cases.items():
        channels = [int(path.name.removesuffix(ending)[-4:]) for path in files]
        if channels not in fitting:
            raise UserError(
                f"{folder}, case {case}", f"channels {channels}", f"{known}", "add, rename or remove its files"
            )
    paths = [path for files in cases.values() for path in files]
    with ThreadPoolExecutor(default_processes()) as threads:  # most of the time is gzip's, which leaves Python's lock
        for path, mistake in zip(paths, threads.map(image_mistake, paths), strict=True):
            if mistake:
                raise UserError(path, *mistake, "replace the file, or move the case elsewhere")
    if reader in AS_STORED:
        for case, files in cases.items():
            check_grids(files, f"case {case}", place=False)


def find_images(folder: Path, ending: str) -> Cases:
    """The cases of a folder, sorted, as nnU-Net finds them.

    Raises:
        UserError: There is no image, or a file is not named `CASE_CCCC<file ending>`.
    """
    cases: Cases = defaultdict(list)
    for path in sorted(folder.glob(f"*{ending}")):
        match = re.fullmatch(r"(.+)_\d{4}", path.name.removesuffix(ending))
        if not match:
            expected = f"CASE_CCCC{ending} with a channel of four digits"
            raise UserError(path, f"the name {path.name}", expected, f"rename it or move it elsewhere; {_MAKE}")
        cases[match[1]].append(path)
    if not cases:
        there = some(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise UserError(
            folder, f"no image, but {there}", f"files CASE_CCCC{ending}, as the model was trained on", _MAKE
        )
    return dict(sorted(cases.items()))


def image_digests(cases: Cases, threads: int) -> dict[str, str]:
    """A SHA-256 of each case's files."""
    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(cases, pool.map(_digest, cases.values()), strict=True))


def is_whole(path: Path, reader: BaseReaderWriter) -> bool:
    """Whether a segmentation is there to its last voxel; SimpleITK makes 0 of what a NIfTI file lacks."""
    if path.name.endswith(NIFTI):
        return truncation(path) is None
    try:
        reader.read_seg(str(path))
    except Exception:  # no such file, or the reader's own error
        return False
    return True


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def refuse_unreadable(cases: Cases, reader: BaseReaderWriter) -> None:
    """Reads cases with the model's reader, to find out why nnU-Net's preprocessing ended.

    Raises:
        UserError: One of them cannot be read.
    """
    for case, files in cases.items():
        try:
            reader.read_images([str(path) for path in files])
        except Exception as error:  # every reader raises exceptions of its own
            raise UserError(
                f"{files[0].parent}, case {case}", f"cannot be read ({reason(error)})",
                "intact images of one size and spacing", "mend or remove its files",
            ) from None  # fmt: skip
