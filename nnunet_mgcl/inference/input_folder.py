"""The images to predict, checked before a worker process trips over them."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunet_mgcl.data.images.checks import image_mistake
from nnunet_mgcl.data.pool.scan import check_grids
from nnunet_mgcl.inference.missing import Missing
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.system.errors import UserError, reason, some
from nnunet_mgcl.system.files import file_sha256
from nnunet_mgcl.system.workers import default_processes

ALL_IN_ONE = ("NaturalImage2DIO",)
"""nnU-Net's readers that may find all channels in one file."""
AS_STORED = ("SimpleITKIO", "NibabelIO")
"""Those that ask for one size and spacing, which the headers tell."""

_MAKE = "mgcl convert --test makes such files of raw scans (docs/convert.md); or check -i"

Cases = dict[str, list[Path]]
"""Case -> its files in the order of their channels."""


@dataclass(frozen=True)
class Images:
    """A folder of images that were read and found whole.

    Attributes:
        folder: Where the files `CASE_CCCC<file ending>` are.
        cases: Its cases, sorted.
        digests: A SHA-256 of each case's files.
        missing: What cases may lack; None: nothing.
        present: The modalities of each case, where some may be missing.
    """

    folder: Path
    cases: Cases
    digests: dict[str, str]
    missing: Missing | None = None
    present: dict[str, list[str]] = field(default_factory=dict)


def read_images(
    folder: Path, dataset_json: dict[str, Any], reader: str, missing: Missing | None = None,
    chosen: Collection[str] | None = None,
) -> Images:  # fmt: skip
    """Checks that every case has a file for each channel that the model was trained on, and no other.

    nnU-Net counts a case's files and never reads their channel numbers: 0001 and 0002 would pass for 0000 and 0001.

    Args:
        folder: Where the files are.
        dataset_json: The model's.
        reader: Name of the class that reads the images.
        missing: What cases may lack; None: nothing.
        chosen: The cases to read of those in the folder; None: all.

    Raises:
        UserError: There is no image, a file is not named so, a case's channels are others or of several grids, or a
            file is truncated or has no geometry.
    """
    ending, known = dataset_json["file_ending"], channel_names(dataset_json)
    fitting = [sorted(known), [0]] if reader in ALL_IN_ONE else [sorted(known)]
    found, present = find_images(folder, ending), {}
    cases = {case: files for case, files in found.items() if chosen is None or case in chosen}
    for case, files in cases.items():
        channels = [channel_of(path, ending) for path in files]
        if missing and not {*channels} - {*known}:
            present[case] = missing.present(f"{folder}, case {case}", channels)
            used = missing.channels(present[case])
            cases[case] = [path for path in files if channel_of(path, ending) in used]
        elif channels not in fitting:
            remedy = "add, rename or remove its files; of a patient who lacks a modality: mgcl predict --allow-missing"
            raise UserError(f"{folder}, case {case}", f"channels {channels}", f"{known}", remedy)
    paths = [path for files in cases.values() for path in files]
    with ThreadPoolExecutor(default_processes()) as threads:  # most of the time is gzip's, which leaves Python's lock
        digests = dict(zip(paths, threads.map(_digest_of_whole, paths), strict=True))
    if reader in AS_STORED:
        for case, files in cases.items():
            check_grids(files, f"case {case}", place=False)
    joined = {case: _joined(digests[path] for path in files) for case, files in cases.items()}
    return Images(folder, cases, joined, missing, present)


def channel_of(path: Path, ending: str) -> int:
    """The channel that a file's name tells."""
    return int(path.name.removesuffix(ending)[-4:])


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
        others = some(sorted(path.name for path in folder.iterdir())) or "nothing"
        expected = f"files CASE_CCCC{ending}, as the model was trained on"
        raise UserError(folder, f"no image, but {others}", expected, _MAKE)
    return dict(sorted(cases.items()))


def image_digest(files: Iterable[Path]) -> str:
    """A SHA-256 of a case's files."""
    return _joined(map(file_sha256, files))


def refuse_unreadable(cases: Cases, reader: BaseReaderWriter) -> None:
    """Reads cases with the model's reader, to find out why nnU-Net's preprocessing ended.

    Raises:
        UserError: One of them cannot be read.
    """
    for case, files in cases.items():
        try:
            reader.read_images([str(path) for path in files])
        except Exception as error:  # every reader raises exceptions of its own
            found, expected = f"cannot be read ({reason(error)})", "intact images of one size and spacing"
            where = f"{files[0].parent}, case {case}"
            raise UserError(where, found, expected, "mend or remove its files") from None


def _digest_of_whole(path: Path) -> str:
    if mistake := image_mistake(path):
        raise UserError(path, *mistake, "replace the file, or move the case elsewhere")
    return file_sha256(path)  # at once, while the system still has the file in memory


def _joined(digests: Iterable[str]) -> str:
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
